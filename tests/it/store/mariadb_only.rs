//! What a server promises beside the contract: many gateways at once, and none that waits for it.

use std::error::Error;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use warren::config::StoreUrl;
use warren::config::secret::Secret;
use warren::history::record::Event;
use warren::store::{Intent, Store, StoreError, open};

use super::bed::{Bed, change, cluster, ending, query, recorded, submission};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_gateways_may_meet_an_empty_database_at_once() {
    let bed = Bed::mariadb().await;
    let stores: Vec<_> = (0..5).map(|_| bed.open()).collect();
    let tasks: Vec<_> = (0..5)
        .zip(stores.clone())
        .map(|(number, store)| {
            tokio::spawn(async move {
                let batch = recorded([Event::Submitted(submission(number, 5))]);
                store.apply(&format!("g{number}"), &batch).await.unwrap();
                store.seed_intents(vec![change("blue", Intent::Active, 1)]).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for store in &stores {
        assert_eq!(store.history(10).await.unwrap().len(), 5);
        assert_eq!(store.intents_version().await.unwrap(), 1);
    }
    bed.remove().await;
}

/// Everything that an error says, with its causes.
fn text(error: &StoreError) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(inner) = cause {
        texts.push(inner.to_string());
        cause = inner.source();
    }
    texts.join(": ")
}

fn unavailable<T>(result: Result<T, StoreError>) -> String {
    match result {
        Ok(_) => panic!("it worked"),
        Err(error @ StoreError::Unavailable { .. }) => text(&error),
        Err(error) => panic!("not unavailable: {error}"),
    }
}

fn at(port: u16) -> StoreUrl {
    StoreUrl::Mysql(Secret::new(format!("mysql://ada:s3cret@127.0.0.1:{port}/warren")))
}

#[tokio::test]
async fn a_server_that_is_away_or_silent_is_told_within_the_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed_port = closed.local_addr().unwrap().port();
    drop(closed);
    for port in [closed_port, silent.local_addr().unwrap().port()] {
        let store = open(&at(port)).unwrap();
        assert_eq!(store.place(), format!("mysql://127.0.0.1:{port}/warren"));
        let began = Instant::now();
        let error = unavailable(store.route(&query(1)).await);
        assert!(began.elapsed() < Duration::from_secs(5), "{port}");
        assert!(!error.contains("s3cret") && !error.contains("ada"), "{error}");
    }
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_without_showing_it() {
    for url in
        ["mysql://ada:s3cret@host", "mysql://ada:s3cret@host:x/db", "s3cret", "http://s3cret"]
    {
        let Err(error) = open(&StoreUrl::Mysql(Secret::new(url.to_owned()))) else {
            panic!("opened {url}")
        };
        assert!(matches!(error, StoreError::Unusable { .. }), "{url}");
        assert!(!text(&error).contains("s3cret"), "{error}");
        assert!(text(&error).contains("mysql://user:password@host:3306/database"), "{error}");
    }
}

#[tokio::test]
async fn a_database_that_appears_later_is_used_from_then_on() {
    let bed = Bed::mariadb_without_database();
    let store = bed.open();
    let batch = recorded([Event::Submitted(submission(1, 5))]);
    assert!(unavailable(store.apply("g1", &batch).await).contains("Unknown database"));
    bed.admin(&format!("CREATE DATABASE {}", bed.database())).await;
    store.apply("g1", &batch).await.unwrap();
    assert_eq!(store.route(&query(1)).await.unwrap(), Some(cluster("bi-blue")));
    bed.remove().await;
}

#[tokio::test]
async fn a_table_that_is_missing_is_no_reason_to_throw_events_away() {
    let bed = Bed::mariadb().await;
    let store = bed.open();
    assert_eq!(store.intents_version().await.unwrap(), 0);
    bed.admin(&format!("DROP TABLE {}.query_routes", bed.database())).await;
    unavailable(store.apply("g1", &recorded([Event::Submitted(submission(1, 5))])).await);
    bed.remove().await;
}

#[tokio::test]
async fn connections_that_the_server_cut_are_replaced() {
    let bed = Bed::mariadb().await;
    let store = bed.open();
    for number in 1..5 {
        let batch = recorded([Event::Submitted(submission(number, 5))]);
        store.apply("g1", &batch).await.unwrap();
        let cut = format!(
            "BEGIN NOT ATOMIC
               FOR process IN (SELECT id FROM information_schema.processlist WHERE db = '{}')
               DO EXECUTE IMMEDIATE CONCAT('KILL ', process.id); END FOR;
             END",
            bed.database()
        );
        bed.admin(&cut).await;
        assert_eq!(store.route(&query(number)).await.unwrap(), Some(cluster("bi-blue")));
    }
    bed.remove().await;
}

#[tokio::test]
async fn rows_that_another_session_holds_delay_a_batch_and_lose_nothing() {
    use mysql_async::prelude::Queryable;

    let bed = Bed::mariadb().await;
    let store = bed.open();
    store.apply("g1", &recorded([Event::Submitted(submission(1, 5))])).await.unwrap();
    let Bed::Mariadb { server, database } = &bed else { unreachable!("made above") };
    let opts = mysql_async::OptsBuilder::from_opts(server.clone()).prefer_socket(false);
    let mut other = mysql_async::Conn::new(opts).await.unwrap();
    other.query_drop(format!("USE {database}")).await.unwrap();
    other.query_drop("BEGIN").await.unwrap();
    other.query_drop("SELECT * FROM query_routes FOR UPDATE").await.unwrap();
    let batch = recorded([Event::Ended(ending(1, 9))]);
    let mut apply = std::pin::pin!(store.apply("g1", &batch));
    // Reads do not wait for the row; while they are made, the batch must not get through.
    tokio::select! {
        result = &mut apply => panic!("wrote a row that is held: {result:?}"),
        read = timeout(Duration::from_secs(3), reads(&*store)) => read.unwrap(),
    }
    other.query_drop("ROLLBACK").await.unwrap();
    apply.await.unwrap();
    assert_eq!(store.history(1).await.unwrap()[0].ended_ms, Some(9));
    other.disconnect().await.unwrap();
    bed.remove().await;
}

async fn reads(store: &dyn Store) {
    for _ in 0..50 {
        assert_eq!(store.route(&query(1)).await.unwrap(), Some(cluster("bi-blue")));
    }
}
