//! Very many clients at once: those who wait for a group that is away take bounded memory, the others
//! hear at once that they should come again, and each connection finds an open file.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use warren::time;
use warren_stub::{Stub, StubOptions};

use crate::support::gateway::{Gateway, Plan};
use crate::support::{eventually, raw, tell};

/// As many as `limits.held` lets wait.
const HELD: usize = 10_000;
/// As many come after them.
const MORE: usize = 10_000;
/// Of each statement. All together take most of `limits.statements`.
const STATEMENT: usize = 20 << 10;
/// Connections that are made at the same time.
const AT_ONCE: usize = 200;

const MIB: u64 = 1 << 20;
/// What a gateway takes at which nobody waits. `docs/config.md` states the sum.
const BASE: u64 = 200 * MIB;
/// What a request takes that waits, with its connection and without its statement.
const EACH: u64 = 80 << 10;
/// `limits.statements`, each of which lies also in the buffer through which it came.
const STATEMENTS: u64 = 2 * 256 * MIB;

/// What a client heard, and when.
struct Heard {
    status: u16,
    text: String,
    at: time::Instant,
}

/// Sends a statement over a connection of its own and waits for the answer.
async fn submit(address: SocketAddr, body: Arc<str>, turn: Arc<Semaphore>) -> Heard {
    let sending = turn.acquire().await.unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/statement HTTP/1.1\r\nHost: {address}\r\nX-Trino-User: many\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    drop(sending);
    let mut bytes = Vec::new();
    while !raw::is_whole(&bytes) && stream.read_buf(&mut bytes).await.unwrap() > 0 {}
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Heard { status: raw::status(&text), text, at: time::now() }
}

fn submit_all(count: usize, address: SocketAddr, body: &Arc<str>) -> Vec<JoinHandle<Heard>> {
    let turn = Arc::new(Semaphore::new(AT_ONCE));
    let one = |_| tokio::spawn(submit(address, body.clone(), turn.clone()));
    (0..count).map(one).collect()
}

/// The memory of a process that lies in RAM.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// This process needs a file for each of its connections.
fn raise_open_files() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = u64::try_from(HELD).unwrap() + 2_000;
    assert!(hard >= wanted, "`ulimit -Hn` is {hard}; this test needs {wanted} open files");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

#[test]
fn twenty_thousand_clients_of_a_group_that_is_away_take_bounded_memory() {
    raise_open_files();
    let stub = Stub::start(StubOptions::default());
    let plan = Plan::of(&[("blue", "bi", &stub)]);
    let bound = Duration::from_secs(60);
    let gateway = plan.timeout("submit", "60s").start_ready();
    let process = gateway.process();
    stub.refuse();
    stub.disconnect();
    eventually("it is taken out", || (!gateway.is_ready("blue")).then_some(()));
    let before = resident(process);
    let body: Arc<str> = format!("SELECT 1 -- {}", "x".repeat(STATEMENT - 12)).into();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let began = time::now();
    let waiting = runtime.block_on(async { submit_all(HELD, gateway.address(), &body) });
    let held = "warren_held_requests{kind=\"submit\"}";
    let all = i64::try_from(HELD).unwrap();
    eventually("all wait", || (gateway.metric(held) == Some(all)).then_some(()));
    let (arrived, peak) = (began.elapsed(), resident(process));

    let refused = runtime.block_on(async {
        let mut refused = Vec::new();
        for one in submit_all(MORE, gateway.address(), &body) {
            refused.push(one.await.unwrap());
        }
        refused
    });
    assert_eq!(gateway.metric(held), Some(all), "they wait on");
    let peak = peak.max(resident(process));
    let told = refused.iter().filter(|heard| heard.status == 503);
    let told = told.filter(|heard| heard.text.to_lowercase().contains("retry-after: 1\r\n"));
    assert_eq!(told.count(), MORE, "who finds no place hears 503");
    tell(&format!(
        "{HELD} waited with {} MiB of statements ({arrived:.1?}), {MORE} heard 503; RSS {} MiB, \
         before {} MiB, so {} KiB for each",
        (HELD * STATEMENT) >> 20,
        peak >> 20,
        before >> 20,
        ((peak - before) >> 10) / u64::try_from(HELD).unwrap(),
    ));
    let page = include_str!("../../docs/config.md");
    let formula = "200 MiB + `limits.held` × 80 KiB + 2 × `limits.statements`";
    assert!(page.contains(formula), "docs/config.md states another bound");
    let stated = BASE + EACH * u64::try_from(HELD).unwrap() + STATEMENTS;
    assert!(peak < stated, "{} MiB, {} MiB are stated", peak >> 20, stated >> 20);

    runtime.block_on(async {
        for one in waiting {
            let heard = one.await.unwrap();
            assert_eq!(heard.status, 200, "{}", heard.text);
            assert!(heard.text.contains("GENERIC_INSUFFICIENT_RESOURCES"), "{}", heard.text);
            assert!(heard.at >= began + bound, "told too early");
        }
    });
    eventually("nobody waits", || (gateway.metric(held) == Some(0)).then_some(()));
    tell(&format!("all were told after {:.1?}", began.elapsed()));
}

/// Lowers the soft limit of open files, as it is for most services, then becomes Warren.
const FEW_FILES: &str = "\
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
os.execv(sys.argv[2], sys.argv[2:])";

#[test]
fn a_low_soft_limit_of_open_files_is_raised() {
    raise_open_files();
    for supervised in [false, true] {
        let stub = Stub::start(StubOptions::default());
        let plan = Plan::of(&[("blue", "bi", &stub)]).started_by(FEW_FILES);
        let plan = if supervised { plan.supervised() } else { plan };
        let gateway = plan.start_ready();
        let idle: Vec<_> = (0..600).map(|_| raw::connect(gateway.address())).collect();
        assert_eq!(gateway.client().submit("SELECT 1").unwrap().status, 200);
        assert!(gateway.log().contains("the limit of open files was raised from=256"));
        drop(idle);
    }
}

#[test]
fn a_hard_limit_that_is_too_low_is_told() {
    const FEWER: &str = "\
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 1000))
os.execv(sys.argv[2], sys.argv[2:])";
    let stub = Stub::start(StubOptions::default());
    let gateway: Gateway = Plan::of(&[("blue", "bi", &stub)]).started_by(FEWER).start();
    assert!(gateway.log().contains("only 1000 files may be open at once"));
}
