//! What a person does with a query, with each client, through Warren, beside the same thing done
//! directly: rows, a million rows, errors, prepared statements, session properties, cancelling.

use crate::support::clients::{Client, Outcome};
use crate::support::coordinator::{self, SOON};
use crate::support::gateway::Gateway;
use crate::support::surroundings::{blue, green};

const NATIONS: &str = "SELECT nationkey, name FROM tpch.tiny.nation WHERE nationkey < 3 ORDER BY 1";
/// Every eighth of the keys up to here exists, in groups of eight of 32: a million orders.
const MILLION: &str =
    "SELECT orderkey, custkey, orderstatus, clerk FROM tpch.sf1.orders WHERE orderkey <= 4000000";
const NO_TABLE: &str = "SELECT * FROM tpch.tiny.nowhere";
const NO_NUMBER: &str = "SELECT 1 / (nationkey - nationkey) FROM tpch.tiny.nation";
const PREPARED: &str = "SELECT name FROM tpch.tiny.nation WHERE nationkey = ?";
const PROPERTY: &str =
    "SET SESSION query_max_run_time = '7m'; SHOW SESSION LIKE 'query_max_run_time'";
/// Ten rows a second, for ten minutes.
const ENDLESS: &str = "CREATE TABLE IF NOT EXISTS blackhole.default.endless (x bigint) WITH (split_count = 1, \
     pages_per_split = 600, rows_per_page = 10, field_length = 8, page_processing_delay = '1s')";

/// The short acts of a client, in one text.
async fn short_acts(client: Client, address: &str) -> String {
    [
        client.rows(address, NATIONS).await,
        client.rows(address, NO_TABLE).await,
        client.rows(address, NO_NUMBER).await,
        client.prepared(address, PREPARED, 7).await,
        client.rows(address, PROPERTY).await,
    ]
    .join("\n")
}

/// Checks that the acts did what they should, so that two equal failures are not a success.
fn assert_right(client: Client, told: &str) {
    for expected in [
        "0\tALGERIA\n1\tARGENTINA\n2\tBRAZIL\n",
        "line 1:15: Table 'tpch.tiny.nowhere' does not exist\n",
        "Division by zero\n",
        "GERMANY\n",
        "query_max_run_time\t7m\t",
    ] {
        assert!(told.contains(expected), "{client:?} did not see `{expected}` but:\n{told}");
    }
    if client != Client::Cli {
        assert!(told.contains("error 46 ") && told.contains("error 8 "), "{client:?}:\n{told}");
    }
}

/// Cancels a running query with a client and checks that Trino itself says so.
async fn assert_cancels(client: Client, address: &str, coordinators: &[String]) {
    for coordinator in coordinators {
        coordinator::run(coordinator, ENDLESS).await;
    }
    let source = format!("cancel-{}-{address}-{}", client.name(), std::process::id());
    let running = coordinator::running(coordinators, &source);
    let act = client.cancel(address, &source, "SELECT * FROM blackhole.default.endless", running);
    tokio::time::timeout(SOON, act).await.expect("the client comes back soon");

    let mut owners = Vec::new();
    for coordinator in coordinators {
        if !coordinator::queries_of(coordinator, &source).await.is_empty() {
            owners.push(coordinator);
        }
    }
    let [owner] = owners[..] else { panic!("{source} is known to {owners:?}") };
    assert_eq!(coordinator::end_of(owner, &source).await, "USER_CANCELED", "{client:?}");
}

async fn gateway() -> Gateway {
    Gateway::start(&[("blue", &blue()), ("green", &green())]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_do_their_acts_against_trino_itself() {
    for client in Client::ALL {
        assert_right(client, &short_acts(client, &blue()).await);
        assert_cancels(client, &blue(), &[blue()]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_sees_what_it_would_see_without_warren() {
    let gateway = gateway().await;
    for client in Client::ALL {
        let through = short_acts(client, gateway.client()).await;
        assert_right(client, &through);
        assert_eq!(through, short_acts(client, &green()).await, "{client:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_rows_have_the_same_checksum() {
    let gateway = gateway().await;
    let direct = Client::Jdbc.checksum(&blue(), MILLION).await;
    assert_eq!(direct.0, 1_000_000);
    for client in Client::ALL {
        let through = client.checksum(gateway.client(), MILLION).await;
        assert_eq!(through, direct, "{client:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_query_ends_in_trino() {
    let gateway = gateway().await;
    for client in Client::ALL {
        assert_cancels(client, gateway.client(), &[blue(), green()]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_queries_of_one_program_end_well() {
    let gateway = gateway().await;
    let statement = "SELECT * FROM tpch.tiny.nation";
    for client in [Client::Jdbc, Client::Dbapi, Client::Go, Client::Js] {
        let source = format!("many-{}", client.name());
        let at_once = client.many(gateway.client(), &source, 8, statement).await;
        assert_eq!(at_once, vec![Outcome::Rows(25); 8], "{client:?}");
        let paced = client.pace(gateway.client(), &source, (4, 2), statement).await;
        assert_eq!(paced, vec![Outcome::Rows(25); 8], "{client:?}");
        let failed = client.many(gateway.client(), &source, 1, NO_TABLE).await;
        let told = |text: &str| text.contains("Table 'tpch.tiny.nowhere' does not exist");
        assert!(matches!(&failed[..], [Outcome::Failed(text)] if told(text)), "{failed:?}");
    }
}
