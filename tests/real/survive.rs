//! What must stay at one coordinator though it names no query, with real clients of real Trino.

use futures::future::join_all;

use crate::support::clients::Client;
use crate::support::coordinator::{self, USER};
use crate::support::gateway::{Extra, Gateway};
use crate::support::own::Coordinator;
use crate::support::surroundings::{blue, green};
use crate::support::wire;

/// A query of ten seconds that takes no CPU: exactly 100 rows.
const SLOW: &str = "CREATE TABLE IF NOT EXISTS blackhole.default.ten (x bigint) WITH \
     (split_count = 1, pages_per_split = 10, rows_per_page = 10, field_length = 8, \
     page_processing_delay = '1s')";

async fn gateway() -> Gateway {
    for address in [blue(), green()] {
        coordinator::run(&address, SLOW).await;
    }
    Gateway::start_supervised(&[("blue", &blue()), ("green", &green())]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_and_logins_stay_at_one_of_three_clusters() {
    let third = Coordinator::start("third", &[]);
    let addresses = [blue(), green(), third.address().to_owned()];
    let clusters: Vec<(&str, &str)> =
        ["blue", "green", "third"].into_iter().zip(addresses.iter().map(String::as_str)).collect();
    let extra = Extra { booting: true, ..Extra::default() };
    let gateway = Gateway::start_with_extra(&clusters, &extra).await;
    transactions_of_python_are_right(&gateway, &addresses).await;
    a_login_to_the_web_pages_lasts(&gateway, &addresses).await;
}

async fn transactions_of_python_are_right(gateway: &Gateway, addresses: &[String]) {
    // Two at once, so that loads differ and luck shows; and again while a coordinator that other
    // tests load too is never the least loaded.
    for _ in 0..20 {
        let both = [(); 2].map(|()| Client::Dbapi.transactions(gateway.client(), 50));
        assert_eq!(join_all(both).await, ["50 transactions", "50 transactions"]);
        let ran = join_all(addresses.iter().map(|it| coordinator::queries_of(it, "real-tx"))).await;
        if ran.iter().all(|queries| !queries.is_empty()) {
            return;
        }
    }
    panic!("one of {addresses:?} ran none of them: luck would not show");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_killed_from_wherever() {
    let gateway = gateway().await;
    let address = gateway.client();
    for number in 0..4 {
        let source = format!("victim-{number}-{}", std::process::id());
        let headers = [("X-Trino-User", USER), ("X-Trino-Source", source.as_str())];
        let statement = "SELECT * FROM blackhole.default.ten";
        let posted = wire::ask(address, "POST", "/v1/statement", &headers, statement).await;
        let mut page = coordinator::json(&posted.expect("an answer"));
        let id = page["id"].as_str().expect("an id").to_owned();
        while page["stats"]["state"] != "RUNNING" {
            let uri = page["nextUri"].as_str().expect("it goes on").to_owned();
            let path = &uri[uri.find("/v1/").expect("a path of Trino's")..];
            let answer = wire::ask(address, "GET", path, &headers, "").await.expect("an answer");
            page = coordinator::json(&answer);
        }
        let call = format!("CALL system.runtime.kill_query(query_id => '{id}', message => 'test')");
        let told = Client::Dbapi.rows(address, &call).await;
        assert!(!told.starts_with("error"), "{told}");
        let mut ends = Vec::new();
        for owner in [blue(), green()] {
            if !coordinator::queries_of(&owner, &source).await.is_empty() {
                ends.push(coordinator::end_of(&owner, &source).await);
            }
        }
        assert_eq!(ends, ["ADMINISTRATIVELY_KILLED"], "{id}");
    }
}

/// The value of a cookie that an answer sets.
fn cookie(answer: &wire::Message, name: &str) -> Option<String> {
    let lines = answer.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case("set-cookie"));
    let start = format!("{name}=");
    let mut values = lines.filter_map(|(_, line)| line.split(';').next());
    values.find(|pair| pair.starts_with(&start)).map(str::to_owned)
}

async fn a_login_to_the_web_pages_lasts(gateway: &Gateway, addresses: &[String]) {
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let body = "username=real-test&password=&redirectPath=";
    let login = wire::ask(gateway.client(), "POST", "/ui/login", &form, body).await;
    let login = login.expect("an answer");
    let ours = cookie(&login, "warren-cluster").expect("ours");
    let theirs = cookie(&login, "Trino-UI-Token").expect("Trino's");
    let cookies = format!("{ours}; {theirs}");
    for number in 0..20 {
        let headers = [("Cookie", cookies.as_str())];
        let path = ["/ui/api/stats", "/ui/api/cluster", "/ui/api/query"][number % 3];
        let answer = wire::ask(gateway.client(), "GET", path, &headers, "").await;
        assert_eq!(answer.expect("an answer").status(), 200, "{path}");
    }
    // Without ours a visitor may meet another coordinator, whose key is another one.
    let mut told = Vec::new();
    for address in addresses {
        let answer = wire::ask(address, "GET", "/ui/api/stats", &[("Cookie", &theirs)], "").await;
        told.push(answer.expect("an answer").status());
    }
    told.sort_unstable();
    assert_eq!(told, [200, 401, 401]);
}
