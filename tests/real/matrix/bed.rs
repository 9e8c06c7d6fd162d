//! Where a client meets a fault: two coordinators that one can make ill, and Warren before them, or
//! the client alone with one of them.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use warren_stub::{Fault, FaultRule, QueryRecord, RequestKind, Stub, StubOptions};

use super::{Cell, Stage, Trouble};
use crate::support::clients::seat::Seat;
use crate::support::clients::{Client, Outcome};
use crate::support::coordinator::USER;
use crate::support::gateway::Gateway;

/// Beyond this a user has given up: longer than any time limit of a client or of Warren.
const LIMIT: Duration = Duration::from_secs(90);
/// How long a coordinator refuses, and how long it stands still.
const REFUSES: Duration = Duration::from_secs(2);
const STANDS_STILL: Duration = Duration::from_secs(5);
/// So long a cancel may take on its way.
const CANCELLED_WITHIN: Duration = Duration::from_secs(10);
/// How many rows the query of a cell has.
const ROWS: u64 = 9;
/// More than one client ever brings: the other cluster is the one that is chosen.
const BUSY: usize = 20;

/// How a client reaches its coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Road {
    /// Through Warren, under its supervisor.
    Warren,
    /// Without it.
    Direct,
}

/// What a user saw of a query that met a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// What they wanted.
    Ok,
    /// Something else.
    Failed(String),
    /// The client sent no such request.
    Unmet,
}

/// A client with what it speaks to.
#[derive(Debug)]
pub(super) struct Bed {
    seat: Seat,
    /// The one that takes the queries, and is made ill.
    ill: Stub,
    well: Stub,
    gateway: Option<Gateway>,
    cells: usize,
}

impl Bed {
    /// Waits until Warren is ready, if it is there.
    pub(super) async fn new(client: Client, road: Road) -> Self {
        let (ill, well) = (coordinator(), coordinator());
        let gateway = match road {
            Road::Direct => None,
            Road::Warren => {
                make_busy(&well);
                let addresses = [&ill, &well].map(|stub| stub.addr().to_string());
                let [ill, well] = addresses.each_ref();
                Some(Gateway::start_supervised(&[("ill", ill), ("well", well)]).await)
            }
        };
        let seat = Seat::new(client, &format!("matrix-{}", client.name()));
        Self { seat, ill, well, gateway, cells: 0 }
    }

    /// Lets the client meet a fault. A coordinator that just recovered may have been passed over
    /// once more: then the query met nothing and is run again.
    pub(super) async fn meet(&mut self, cell: Cell) -> Told {
        for _ in 0..3 {
            let told = self.meet_once(cell).await;
            if told != Told::Unmet {
                return told;
            }
        }
        Told::Unmet
    }

    async fn meet_once(&mut self, cell: Cell) -> Told {
        if let Some(gateway) = &mut self.gateway {
            gateway.wait_until_ready().await;
        } else {
            // A new one, so that what a client kept of the last cell does not matter.
            self.ill = coordinator();
        }
        self.cells += 1;
        let mark = format!("cell{:03}", self.cells);
        let length = if cell.stage == Stage::Delete {
            "60s rows=600 pages=300"
        } else {
            "300ms rows=9 pages=3"
        };
        let sql = format!("SELECT n FROM {mark} /* stub: run={length} */");
        let address = match &self.gateway {
            Some(gateway) => gateway.client().to_owned(),
            None => self.ill.addr().to_string(),
        };
        let before = self.ill.faults_met();
        self.ill.clear_faults();
        self.ill.fault(rule(cell));
        let over = AtomicBool::new(false);
        let (ill, well) = (&self.ill, &self.well);
        let act = async {
            let told = if cell.stage == Stage::Delete {
                let running = running(ill, &mark);
                self.seat.cancel(&address, &sql, LIMIT, running).await
            } else {
                self.seat.rows(&address, &sql, LIMIT).await
            };
            over.store(true, Ordering::Relaxed);
            told
        };
        let trouble = async {
            while ill.faults_met() == before && !over.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            if ill.faults_met() > before {
                make(cell.trouble, ill, self.gateway.as_ref()).await;
            }
        };
        let (told, ()) = futures::future::join(act, trouble).await;
        if self.ill.faults_met() == before {
            return Told::Unmet;
        }
        judge(told, &[ill, well], &mark).await
    }
}

fn coordinator() -> Stub {
    Stub::start(StubOptions::default().with(|behaviour| {
        behaviour.client_timeout_seconds = 1_000_000;
    }))
}

/// Gives a coordinator queries that outlast the test.
fn make_busy(stub: &Stub) {
    let client = warren_stub::client::Client::new(stub.addr());
    for _ in 0..BUSY {
        let posted = client.send("POST", "/v1/statement", "SELECT n /* stub: run=9h */");
        let next = posted.expect("an answer").next().expect("it goes on");
        client.get(&next).expect("an answer");
    }
}

/// What a coordinator does to the first request of the cell's stage.
fn rule(cell: Cell) -> FaultRule {
    let fault = match cell.trouble {
        Trouble::Status(code) => Fault::Status { code, retry_after: None },
        Trouble::Reset => Fault::ResetBefore,
        Trouble::Lost => Fault::ResetAfter,
        Trouble::Cut => Fault::CutBody,
        // The rest is made when the request has come.
        Trouble::Refused | Trouble::Hang => Fault::Hang,
        Trouble::Frozen => Fault::SlowMs(500),
        Trouble::Killed | Trouble::Upgraded => Fault::SlowMs(2000),
    };
    let (kinds, path) = match cell.stage {
        Stage::Post => (vec![RequestKind::Submit], None),
        Stage::First => (vec![RequestKind::Page], Some("/queued/")),
        Stage::Executing => (vec![RequestKind::Page], Some("/executing/")),
        Stage::Delete => {
            (vec![RequestKind::Cancel, RequestKind::PartialCancel, RequestKind::Kill], None)
        }
    };
    let path = path.map(str::to_owned);
    FaultRule { kinds, path, count: Some(1), ..FaultRule::all(fault).of(USER) }
}

/// Does what no rule can do, when the request has come.
async fn make(trouble: Trouble, stub: &Stub, gateway: Option<&Gateway>) {
    match (trouble, gateway) {
        (Trouble::Refused, _) => {
            stub.refuse();
            stub.disconnect();
            tokio::time::sleep(REFUSES).await;
            stub.accept();
        }
        (Trouble::Frozen, _) => {
            stub.freeze();
            tokio::time::sleep(STANDS_STILL).await;
            stub.thaw();
        }
        (Trouble::Killed, Some(gateway)) => {
            let worker = gateway.worker().to_string();
            let killed = Command::new("kill").args(["-KILL", &worker]).status();
            assert!(killed.expect("kill runs").success());
        }
        (Trouble::Upgraded, Some(gateway)) => tokio::task::block_in_place(|| gateway.upgrade()),
        _ => {}
    }
}

fn of_cell(stubs: &[&Stub], mark: &str) -> Vec<QueryRecord> {
    let mut found: Vec<_> = stubs.iter().flat_map(|stub| stub.queries()).collect();
    found.retain(|query| query.executed && query.sql.contains(mark));
    found
}

/// Waits until the client has read a page of its query.
async fn running(stub: &Stub, mark: &str) {
    while !of_cell(&[stub], mark).iter().any(|query| query.pages_asked > 3) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether the user has what they wanted, and the clusters did it once.
async fn judge(told: Outcome, stubs: &[&Stub], mark: &str) -> Told {
    match told {
        Outcome::Failed(text) => return Told::Failed(text),
        Outcome::Rows(count) if count != ROWS => {
            return Told::Failed(format!("{count} rows of {ROWS}"));
        }
        Outcome::Rows(_) => {}
        Outcome::Cancelled => {
            let lives = |query: &QueryRecord| matches!(query.state, "QUEUED" | "RUNNING");
            let began = warren::time::now();
            while of_cell(stubs, mark).iter().any(lives) {
                if began.elapsed() > CANCELLED_WITHIN {
                    return Told::Failed("it runs on".to_owned());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    match of_cell(stubs, mark).len() {
        1 => Told::Ok,
        runs => Told::Failed(format!("it ran {runs} times")),
    }
}
