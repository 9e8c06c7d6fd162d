//! Warren's own end refuses nobody while its supervisor lives: a crash, an upgrade, a worker that
//! cannot be started.

use std::time::Duration;

use warren::time;
use warren_stub::client::Client;
use warren_stub::{Fault, FaultRule, RequestKind, Stub, StubOptions};

use crate::support::clients::{Load, Query, in_parallel};
use crate::support::gateway::{Plan, kill, lives};
use crate::support::{eventually, tell};

fn two() -> [Stub; 2] {
    [(); 2].map(|()| Stub::start(StubOptions::default()))
}

fn plan([blue, green]: &[Stub; 2]) -> Plan {
    Plan::of(&[("blue", "bi", blue), ("green", "bi", green)]).supervised()
}

#[test]
fn a_killed_worker_refuses_nobody_and_its_queries_go_on() {
    let stubs = two();
    let gateway = plan(&stubs).start_ready();
    let client = gateway.client();
    let begin = |_| {
        let mut query = Query::submit(&client, "SELECT n /* stub: run=3s rows=5 pages=5 */")?;
        query.page(&client).map(|()| query)
    };
    let begun: Result<Vec<_>, String> =
        in_parallel((0..200).collect(), begin).into_iter().collect();
    let begun = begun.unwrap();
    for _ in 0..3 {
        let first = gateway.worker();
        kill("KILL", first);
        // Nobody is connected now; each of these waits for the next worker.
        let met = in_parallel((0..40).collect(), |_| Query::run(&client, "SELECT 1"));
        let failed: Vec<_> = met.iter().filter_map(|end| end.as_ref().err()).collect();
        assert!(failed.is_empty(), "{} failed: {failed:?}", failed.len());
        assert_ne!(gateway.worker(), first);
    }
    let ends = in_parallel(begun, |mut query| query.finish(&client));
    let failed: Vec<_> = ends.iter().filter_map(|end| end.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} failed: {failed:?}", failed.len());
}

#[test]
fn upgrades_under_load_fail_nobody_and_lose_no_history() {
    const UPGRADES: usize = 8;
    let stubs = two();
    let gateway = plan(&stubs).start_ready();
    let client = gateway.client();
    let load = Load::start(6, &client, "SELECT n /* stub: run=50ms rows=4 pages=2 */ -- upgraded");
    load.more(50);
    for _ in 0..UPGRADES {
        let old = gateway.worker();
        let began = time::now();
        let done = gateway.run(&["upgrade"]);
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{text} {}", String::from_utf8_lossy(&done.stderr));
        let ready = began.elapsed();
        load.more(20);
        eventually("the old worker is gone", || (!lives(old)).then_some(()));
        tell(&format!("ready after {ready:?}, the old one gone after {:?}", began.elapsed()));
        assert!(text.contains(&gateway.worker().to_string()), "{text}");
    }
    let queries = u32::try_from(load.all_good().len()).unwrap();
    let ended = "SELECT count(*) FROM query_routes WHERE statement LIKE '%upgraded%' AND \
                 end_cause = 'last_page'";
    let file = gateway.settings_file().with_file_name("warren.db");
    let history = || {
        let database = rusqlite::Connection::open(&file).unwrap();
        database.query_row(ended, [], |row| row.get::<_, u32>(0)).unwrap()
    };
    eventually("the history is whole", || (history() == queries).then_some(()));
    let text = gateway.log();
    assert!(!text.contains("cut off"), "{text}");
}

#[test]
fn the_end_of_the_supervisor_ends_all() {
    let stubs = two();
    let mut gateway = plan(&stubs).start_ready();
    let first = gateway.worker();
    gateway.signal("TERM");
    assert_eq!(gateway.ended().code(), Some(0));
    assert!(!lives(first));
    gateway.start();
    let second = gateway.worker();
    gateway.kill();
    eventually("its worker notices", || (!lives(second)).then_some(()));
    gateway.start();
    gateway.wait_until_ready();
}

#[test]
fn a_worker_that_cannot_be_started_is_told_to_clients_until_it_can() {
    let stubs = two();
    let gateway = plan(&stubs).start_ready();
    let settings = std::fs::read_to_string(gateway.settings_file()).unwrap();
    std::fs::write(gateway.settings_file(), "[listen]\nclinet = 1\n").unwrap();
    // A running worker keeps its settings, and an upgrade to one that cannot start changes nothing.
    let old = gateway.worker();
    let good = gateway.settings_file().with_file_name("good.toml");
    std::fs::write(&good, &settings).unwrap();
    let failed = gateway.run_with(&good, &["upgrade"]);
    assert!(!failed.status.success());
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(text.contains("the old worker goes on"), "{text}");
    assert_eq!(gateway.worker(), old);
    Query::run(&gateway.client(), "SELECT 1").unwrap();

    kill("KILL", old);
    let answer = eventually("somebody stands in", || {
        let answer = gateway.client().get("/v1/info").ok()?;
        (answer.status == 503).then_some(answer)
    });
    assert_eq!(answer.header("retry-after"), Some("1"));
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(text.contains("cannot be started"), "{text}");
    std::fs::write(gateway.settings_file(), settings).unwrap();
    eventually("it is tried again", || Query::run(&gateway.client(), "SELECT 1").ok());
}

#[test]
fn an_idle_connection_is_told_before_it_ends() {
    use std::io::Write;
    let stubs = two();
    let gateway = plan(&stubs).start_ready();
    let ask = b"GET /v1/info HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut idle = crate::support::raw::connect(gateway.address());
    idle.write_all(ask).unwrap();
    let first = crate::support::raw::read_message(&mut idle);
    assert!(!first.to_lowercase().contains("connection: close"), "{first}");
    let old = gateway.worker();
    assert!(gateway.run(&["upgrade"]).status.success());
    assert!(lives(old), "it waits for the connection to be used or to stay idle");
    idle.write_all(ask).unwrap();
    let second = crate::support::raw::read_message(&mut idle);
    assert!(second.starts_with("HTTP/1.1 200"), "{second}");
    assert!(second.to_lowercase().contains("connection: close"), "{second}");
    let began = time::now();
    eventually("it ends when nobody is connected", || (!lives(old)).then_some(()));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn an_answer_that_is_on_its_way_tells_the_end_too() {
    use std::io::Write;
    let stubs = two();
    let gateway = plan(&stubs).start_ready();
    let asked = || stubs.iter().map(|stub| stub.request_count(RequestKind::Status)).sum::<u64>();
    // An upgrade takes longer on a busy machine.
    for seconds in [3, 9, 27] {
        for stub in &stubs {
            stub.clear_faults();
            stub.fault(FaultRule::every(RequestKind::Status, Fault::SlowMs(seconds * 1000)));
        }
        let before = asked();
        let mut connection = crate::support::raw::connect(gateway.address());
        connection.write_all(b"GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        eventually("it has arrived", || (asked() > before).then_some(()));
        assert!(gateway.run(&["upgrade"]).status.success());
        let upgraded = time::now();
        let answer = crate::support::raw::read_message(&mut connection);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        if upgraded.elapsed() > Duration::from_millis(500) {
            assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
            return;
        }
    }
    panic!("each answer came before its upgrade was over");
}

#[test]
fn sockets_of_systemd_are_taken() {
    let stubs = two();
    let [blue, green] = &stubs;
    let plan = Plan::of(&[("blue", "bi", blue), ("green", "bi", green)]);
    // A shell opens nothing on descriptor 3; python gives what systemd would.
    let plan = plan.started_by(
        "import os, socket, sys\n\
         host, port = sys.argv[1].rsplit(':', 1)\n\
         s = socket.create_server((host, int(port)))\n\
         os.dup2(s.fileno(), 3); os.set_inheritable(3, True)\n\
         os.environ['LISTEN_FDS'] = '1'; os.environ['LISTEN_PID'] = str(os.getpid())\n\
         os.execv(sys.argv[2], sys.argv[2:])\n",
    );
    let gateway = plan.start_ready();
    Query::run(&Client::new(gateway.address()), "SELECT 1").unwrap();
    assert!(gateway.log().contains("the socket was inherited"), "{}", gateway.log());
}
