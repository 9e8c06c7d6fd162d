//! A submit that waits for its answer outlasts the worker of `warren supervise` that has read it:
//! its client, which sends nothing again, gets one answer over the same connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use warren_stub::{Fault, FaultRule, RequestKind, Stub, StubOptions, free_address};

use crate::support::authority::Authority;
use crate::support::clients::Query;
use crate::support::gateway::{Gateway, Plan, kill, lives};
use crate::support::{eventually, raw};

/// Only these clients meet the stubs' faults; probes do not.
const USER: &str = "patient";

struct Bed {
    stubs: [Stub; 2],
    gateway: Gateway,
}

impl Bed {
    fn start() -> Self {
        Self::with("")
    }

    fn with(sections: &str) -> Self {
        let stubs = [(); 2].map(|()| Stub::start(StubOptions::default()));
        let [blue, green] = &stubs;
        let plan = Plan::of(&[("blue", "bi", blue), ("green", "bi", green)]).supervised();
        // Long enough for kills on a busy machine, while a stub is silent.
        let plan = plan.timeout("answer", "60s").timeout("submit", "60s").sections(sections);
        Self { gateway: plan.start_ready(), stubs }
    }

    /// From now on no submit is answered; that of anybody else is.
    fn hang(&self) {
        for stub in &self.stubs {
            stub.fault(FaultRule::every(RequestKind::Submit, Fault::Hang).of(USER));
        }
    }

    fn heal(&self) {
        self.stubs.iter().for_each(Stub::clear_faults);
    }

    /// How many submits have reached a stub.
    fn posted(&self) -> usize {
        let ours = |stub: &Stub| {
            let all = stub.requests_of(RequestKind::Submit);
            all.iter().filter(|seen| seen.header("x-trino-user") == Some(USER)).count()
        };
        self.stubs.iter().map(ours).sum()
    }

    fn until_posted(&self, count: usize) {
        eventually("the submits wait at stubs", || (self.posted() == count).then_some(()));
    }

    /// Kills the worker while `waiting` submits wait, and waits until the next one has posted them.
    fn kill(&self, waiting: usize) {
        let before = self.posted();
        kill("KILL", self.gateway.worker());
        self.until_posted(before + waiting);
    }

    fn outcome(&self, name: &str) -> i64 {
        let line = format!("warren_outlasting_submits_total{{outcome=\"{name}\"}}");
        self.gateway.metric(&line).unwrap_or_default()
    }
}

fn post(statement: &str) -> Vec<u8> {
    format!(
        "POST /v1/statement HTTP/1.1\r\nHost: warren.example:1\r\nX-Trino-User: {USER}\r\n\
         Content-Length: {}\r\n\r\n{statement}",
        statement.len()
    )
    .into_bytes()
}

fn post_in_chunks(statement: &str) -> Vec<u8> {
    format!(
        "POST /v1/statement HTTP/1.1\r\nHost: warren.example:1\r\nX-Trino-User: {USER}\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{statement}\r\n0\r\n\r\n",
        statement.len()
    )
    .into_bytes()
}

fn sent(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

/// The next answer, of which the head ends the connection or not.
fn answer(stream: &mut TcpStream) -> (String, Value) {
    let text = raw::read_message(stream);
    assert_eq!(raw::status(&text), 200, "{text}");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), serde_json::from_str(body).unwrap())
}

/// Reads the answer to the submit, then its first page over the same connection; gives its id.
fn answered(stream: &mut TcpStream) -> String {
    let (head, told) = answer(stream);
    assert!(!head.contains("connection: close"), "{head}");
    let (id, next) = (told["id"].as_str().unwrap(), told["nextUri"].as_str().unwrap());
    let path = next.strip_prefix("http://warren.example:1").unwrap();
    // Were there a second answer to the submit, it would be taken for this one's.
    write!(stream, "GET {path} HTTP/1.1\r\nHost: warren.example:1\r\nX-Trino-User: {USER}\r\n\r\n")
        .unwrap();
    let (_, page) = answer(stream);
    assert_eq!(page["id"].as_str(), Some(id));
    assert_ne!(page["nextUri"].as_str(), Some(next), "a page, and not the first answer again");
    let patience = stream.read_timeout().unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let more = stream.read(&mut [0]).map_err(|error| error.kind());
    assert!(matches!(more, Err(ErrorKind::WouldBlock)), "nothing more, and open: {more:?}");
    stream.set_read_timeout(patience).unwrap();
    id.to_owned()
}

/// Waits until the connection ends; nothing may come before.
fn assert_closed(stream: &mut TcpStream) {
    match stream.read(&mut [0]) {
        Ok(count) => assert_eq!(count, 0, "something came"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

#[test]
fn a_submit_outlasts_the_workers_that_have_read_it() {
    let bed = Bed::start();
    bed.hang();
    let long = format!("SELECT 1 /* {} */", "x".repeat(100 << 10));
    let statement = |number: usize| match number % 8 {
        0 => post(&long),
        1 => post_in_chunks("SELECT 1 /* in chunks */"),
        2 => post_in_chunks(&long),
        _ => post("SELECT 1"),
    };
    let address = bed.gateway.address();
    let mut clients: Vec<_> = (0..40).map(|number| sent(address, &statement(number))).collect();
    bed.until_posted(40);
    // Some go away meanwhile, which nobody notices before there is an answer.
    clients.truncate(35);
    bed.kill(40);
    bed.kill(40);
    assert_eq!(bed.outcome("taken"), 40);
    bed.heal();
    kill("KILL", bed.gateway.worker());
    let mut ids: Vec<_> = clients.iter_mut().map(answered).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 35, "each has its own query");
    let asked: Vec<_> = bed.stubs.iter().flat_map(Stub::queries).map(|query| query.sql).collect();
    let count = |wanted: &dyn Fn(&str) -> bool| asked.iter().filter(|sql| wanted(sql)).count();
    assert_eq!(count(&|sql| sql == long), 10, "whole");
    assert_eq!(count(&|sql| sql == "SELECT 1 /* in chunks */"), 5, "without their chunks' heads");
    // Each of these connections goes on as others do, also over the next worker's end.
    bed.hang();
    let again = post("SELECT 2");
    clients.iter_mut().for_each(|client| client.write_all(&again).unwrap());
    eventually("they wait again", || (bed.outcome("kept") >= 75).then_some(()));
    bed.heal();
    kill("KILL", bed.gateway.worker());
    clients.iter_mut().for_each(|client| drop(answered(client)));
}

#[test]
fn a_submit_goes_to_the_worker_of_an_upgrade_when_the_old_one_is_killed() {
    let bed = Bed::start();
    bed.hang();
    let mut client = sent(bed.gateway.address(), &post("SELECT 1"));
    bed.until_posted(1);
    let old = bed.gateway.worker();
    assert!(bed.gateway.run(&["upgrade"]).status.success());
    assert!(lives(old), "a request of its own is in flight");
    bed.heal();
    kill("KILL", old);
    answered(&mut client);
}

#[test]
fn a_submit_that_ends_four_workers_ends_with_the_last_one() {
    let bed = Bed::start();
    bed.hang();
    let mut client = sent(bed.gateway.address(), &post("SELECT 1"));
    bed.until_posted(1);
    (0..3).for_each(|_| bed.kill(1));
    kill("KILL", bed.gateway.worker());
    assert_closed(&mut client);
    eventually("it is told", || {
        bed.gateway.log().contains("submits end with their worker").then_some(())
    });
}

#[test]
fn what_cannot_outlast_its_worker_sees_its_connection_close() {
    let (authority, address) = (Authority::new(), free_address());
    authority.sign("own", &["localhost"]);
    let bed = Bed::with(&authority.listener(address, &["own"], ""));
    bed.hang();
    let config = authority.client(&[&rustls::version::TLS13]);
    let mut tls = crate::tls::connect(&config, address, "localhost").unwrap();
    tls.write_all(&post("SELECT 1")).unwrap();
    let mut long = sent(bed.gateway.address(), &post(&"x".repeat(128 << 10)));
    bed.until_posted(2);
    let whole = post("SELECT 1");
    let mut begun = sent(bed.gateway.address(), &whole[..whole.len() - 1]);
    let mut well = sent(bed.gateway.address(), &whole);
    bed.until_posted(3);
    assert_eq!((bed.outcome("kept"), bed.outcome("too_long")), (1, 1));
    bed.heal();
    kill("KILL", bed.gateway.worker());
    assert_closed(&mut long);
    assert_closed(&mut begun);
    assert!(tls.read(&mut [0]).map_or(true, |count| count == 0), "something came");
    answered(&mut well);
}

#[test]
fn the_supervisor_holds_nothing_that_is_done() {
    let bed = Bed::start();
    let files = || {
        let folder = format!("/proc/{}/fd", bed.gateway.process());
        std::fs::read_dir(folder).unwrap().count()
    };
    let before = files();
    let client = bed.gateway.client();
    for _ in 0..300 {
        Query::submit(&client, "SELECT 1").unwrap();
    }
    assert_eq!(bed.outcome("kept"), 300);
    eventually("all are let go", || (files() == before).then_some(()));
    bed.hang();
    let clients: Vec<_> = (0..20).map(|_| sent(bed.gateway.address(), &post("SELECT 1"))).collect();
    bed.until_posted(20);
    eventually("those that wait are held", || (files() == before + 20).then_some(()));
    bed.heal();
    kill("KILL", bed.gateway.worker());
    clients.into_iter().for_each(|mut client| drop(answered(&mut client)));
    eventually("they are let go too", || (files() == before).then_some(()));
}
