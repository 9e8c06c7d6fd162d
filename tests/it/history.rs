//! The way of events from a request into a store: through outages of the store and SIGKILL.

mod cut;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use warren::config::StoreUrl;
use warren::config::secret::Secret;
use warren::history::record::Event;
use warren::history::start;
use warren::store::Store;

use crate::store::bed::{Bed, ending, query, server_url, submission};
use cut::CutWire;

const ROOM: u64 = 256 << 20;

/// The store of a bed, reached over a wire that the test can cut.
async fn over_a_wire(bed: &Bed) -> (CutWire, Arc<dyn Store>) {
    let server = mysql_async::Opts::from_url(&server_url()).unwrap();
    let wire = CutWire::to((server.ip_or_hostname().to_owned(), server.tcp_port())).await;
    let (user, password) = (server.user().unwrap_or(""), server.pass().unwrap_or(""));
    let url = format!("mysql://{user}:{password}@{}/{}", wire.address(), bed.database());
    (wire, warren::store::open(&StoreUrl::Mysql(Secret::new(url))).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_server_loses_nothing() {
    let bed = Bed::mariadb().await;
    let (wire, store) = over_a_wire(&bed).await;
    let state = tempfile::tempdir().unwrap();
    let history = start(state.path(), ROOM, Arc::clone(&store)).unwrap();
    for number in 0..3000 {
        match number {
            1000 => {
                history.shipped().await.unwrap();
                wire.cut();
            }
            2000 => {
                history.recorder().flush().await.unwrap();
                assert!(history.stats().pending() >= 1000);
                // The shipper has noticed once its call has failed.
                while history.stats().store_up() {
                    sleep(Duration::from_millis(20)).await;
                }
                wire.mend();
            }
            _ => {}
        }
        history.recorder().record(Event::Submitted(submission(number, 5)));
        history.recorder().record(Event::Ended(ending(number, 9)));
    }
    history.shipped().await.unwrap();
    let stats = Arc::clone(history.stats());
    assert_eq!((stats.dropped(), stats.rejected(), stats.pending()), (0, 0, 0));
    history.stop(Duration::from_secs(5)).await;
    let rows = store.history(10_000).await.unwrap();
    assert_eq!(rows.len(), 3000);
    assert!(rows.iter().all(|row| row.submitted_ms == Some(5) && row.ended_ms == Some(9)));
    bed.remove().await;
}

#[tokio::test]
async fn a_start_without_the_server_takes_events_and_ships_them_later() {
    let bed = Bed::mariadb().await;
    let (wire, store) = over_a_wire(&bed).await;
    wire.cut();
    let state = tempfile::tempdir().unwrap();
    let history = start(state.path(), ROOM, Arc::clone(&store)).unwrap();
    history.recorder().record(Event::Submitted(submission(1, 5)));
    history.stop(Duration::from_millis(200)).await;
    let history = start(state.path(), ROOM, Arc::clone(&store)).unwrap();
    assert_eq!(history.stats().pending(), 1);
    wire.mend();
    history.shipped().await.unwrap();
    assert!(store.route(&query(1)).await.unwrap().is_some());
    history.stop(Duration::from_secs(5)).await;
    bed.remove().await;
}

/// Names the folder in which the child process works; only the test below sets it.
const CHILD: &str = "WARREN_TEST_HISTORY_CHILD";
/// What a SIGKILL may lose: 50 ms are promised, the rest is for a machine that is busy with tests.
const LOST_AT_MOST: Duration = Duration::from_millis(250);

/// The process that is killed. As a test of its own it does nothing.
#[tokio::test]
async fn child_that_records_until_it_is_killed() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let folder = Path::new(&folder);
    let url = StoreUrl::Sqlite(folder.join("warren.db"));
    let history = start(folder, ROOM, warren::store::open(&url).unwrap()).unwrap();
    for number in 0.. {
        history.recorder().record(Event::Submitted(submission(number, 5)));
        use std::io::Write;
        writeln!(std::io::stdout(), "recorded {number}").unwrap();
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_sigkill_loses_at_most_the_last_moment() {
    for run in 0..5 {
        let bed = Bed::sqlite();
        let folder = bed.file().parent().unwrap().to_owned();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "history::child_that_records_until_it_is_killed", "--nocapture"])
            .env(CHILD, &folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = Vec::new();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let numbers = lines.map_while(Result::ok).filter_map(|line| {
            line.rsplit_once("recorded ").and_then(|(_, number)| number.parse::<u64>().ok())
        });
        for number in numbers {
            said.push((number, Instant::now()));
            if number == 300 + run * 37 {
                child.kill().unwrap();
                break;
            }
        }
        child.wait().unwrap();
        let killed = said.last().unwrap().1;
        let safe = said.iter().rev().find(|(_, at)| *at + LOST_AT_MOST <= killed).unwrap().0;
        // The next life brings what the journal kept into the store.
        let store = bed.open();
        let history = start(&folder, ROOM, Arc::clone(&store)).unwrap();
        history.shipped().await.unwrap();
        history.stop(Duration::from_secs(5)).await;
        let rows = store.history(10_000).await.unwrap();
        assert!(rows.len() as u64 > safe, "{} of {safe} kept", rows.len());
        let oldest = rows.last().map(|row| row.query_id.clone());
        assert_eq!(oldest, Some(query(0).to_string()));
        assert_eq!(rows[0].query_id, query(rows.len() as u64 - 1).to_string(), "no gap");
    }
}
