//! What users of each client see when something goes wrong once: client × fault × stage, through
//! Warren and without it.
//!
//! `make test` runs the cells that Warren promises. `make fault-matrix` runs all of them, and the
//! same faults without Warren, and writes the tables of `docs/faults.md`.

mod bed;
mod table;

use futures::future::join_all;

use crate::support::clients::Client;
use bed::{Bed, Road, Told};

/// The clients of the tables; SQLAlchemy speaks through the DBAPI.
const CLIENTS: [Client; 5] = [Client::Cli, Client::Jdbc, Client::Dbapi, Client::Go, Client::Js];

/// The request of a query that meets the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// `POST /v1/statement`.
    Post,
    /// The first `GET`, which starts the query.
    First,
    /// The first `GET` of an executing page.
    Executing,
    /// The `DELETE` of a running query that its user cancels.
    Delete,
}

/// What goes wrong, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// This status, and nothing done.
    Status(u16),
    /// The connection is reset, and nothing done.
    Reset,
    /// It is done, and the connection reset instead of the answer.
    Lost,
    /// Half of the answer.
    Cut,
    /// All connections of the coordinator end, and for 2 s it accepts none.
    Refused,
    /// The whole coordinator stands still for 5 s.
    Frozen,
    /// This request is never answered.
    Hang,
    /// The worker of `warren supervise` is killed while the request waits.
    Killed,
    /// `warren upgrade` while the request waits.
    Upgraded,
}

/// One row of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    trouble: Trouble,
    stage: Stage,
}

const STAGES: [Stage; 4] = [Stage::Post, Stage::First, Stage::Executing, Stage::Delete];

const OF_COORDINATORS: [Trouble; 10] = [
    Trouble::Status(502),
    Trouble::Status(503),
    Trouble::Status(504),
    Trouble::Status(500),
    Trouble::Reset,
    Trouble::Lost,
    Trouble::Cut,
    Trouble::Refused,
    Trouble::Frozen,
    Trouble::Hang,
];

const OF_WARREN: [Trouble; 2] = [Trouble::Killed, Trouble::Upgraded];

impl Trouble {
    /// Whether Warren promises that no client notices it at this stage.
    fn is_mended(self, stage: Stage) -> bool {
        match self {
            Self::Status(500) | Self::Cut => stage == Stage::Post,
            Self::Status(_) | Self::Reset | Self::Lost | Self::Refused | Self::Frozen => true,
            Self::Hang => stage == Stage::Post,
            Self::Killed => stage == Stage::Post,
            Self::Upgraded => true,
        }
    }
}

/// The rows of some troubles.
fn rows_of(troubles: &[Trouble]) -> Vec<Cell> {
    let cells = troubles.iter().flat_map(|&trouble| STAGES.map(|stage| Cell { trouble, stage }));
    // The answer to a cancel has no body.
    cells.filter(|cell| (cell.trouble, cell.stage) != (Trouble::Cut, Stage::Delete)).collect()
}

/// All rows, those of Warren's own troubles last.
fn rows() -> Vec<Cell> {
    [rows_of(&OF_COORDINATORS), rows_of(&OF_WARREN)].concat()
}

/// Runs cells with each client; the clients at once, each with a gateway and coordinators of its
/// own. What was seen: by row, then by client.
async fn run(road: Road, cells: &[Cell]) -> Vec<Vec<Told>> {
    let columns = CLIENTS.map(|client| async move {
        let mut bed = Bed::new(client, road).await;
        let mut column = Vec::new();
        for cell in cells {
            column.push(bed.meet(*cell).await);
        }
        column
    });
    let columns = join_all(columns).await;
    (0..cells.len()).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect()
}

/// The rows that Warren promises, but for those that are like another one or take long.
fn promised() -> Vec<Cell> {
    let spared = |cell: &Cell| match cell.trouble {
        Trouble::Status(code) => matches!(code, 502 | 504),
        Trouble::Lost => matches!(cell.stage, Stage::First | Stage::Delete),
        Trouble::Refused => cell.stage == Stage::Delete,
        Trouble::Upgraded => matches!(cell.stage, Stage::Post | Stage::First),
        Trouble::Frozen | Trouble::Hang => true,
        Trouble::Reset | Trouble::Cut | Trouble::Killed => false,
    };
    let wanted = |cell: &Cell| cell.trouble.is_mended(cell.stage) && !spared(cell);
    rows().into_iter().filter(wanted).collect()
}

#[expect(clippy::print_stdout, reason = "the figure is part of the report")]
#[tokio::test(flavor = "multi_thread")]
async fn no_client_notices_a_fault_that_can_be_mended() {
    let began = warren::time::now();
    let whole = std::env::var_os("WARREN_TEST_FAULT_MATRIX");
    let cells = if whole.is_some() { rows() } else { promised() };
    let told = run(Road::Warren, &cells).await;
    let mut broken = Vec::new();
    for (cell, row) in cells.iter().zip(&told) {
        for (client, told) in CLIENTS.iter().zip(row) {
            if cell.trouble.is_mended(cell.stage) && *told != Told::Ok {
                broken.push(format!("{client:?}, {cell:?}: {told:?}"));
            }
        }
    }
    println!("{} cells took {:?}", cells.len() * CLIENTS.len(), began.elapsed());
    if let Some(file) = whole {
        let (theirs, ours) = cells.split_at(cells.len() - rows_of(&OF_WARREN).len());
        let without = run(Road::Direct, theirs).await;
        let text = table::text("Through Warren", theirs, &told)
            + &table::text("Warren's own", ours, &told[theirs.len()..])
            + &table::text("Without Warren", theirs, &without);
        std::fs::write(&file, text).expect("a file that can be written");
    }
    assert!(broken.is_empty(), "{} of the promised cells:\n{}", broken.len(), broken.join("\n"));
}

/// The test above sees failures: without Warren the same faults are noticed.
#[tokio::test(flavor = "multi_thread")]
async fn without_warren_the_same_faults_are_noticed() {
    let stages = [Stage::Post, Stage::First, Stage::Executing];
    let cells = stages.map(|stage| Cell { trouble: Trouble::Status(503), stage });
    let mut bed = Bed::new(Client::Js, Road::Direct).await;
    for cell in cells {
        let told = bed.meet(cell).await;
        assert!(matches!(&told, Told::Failed(text) if text.contains("503")), "{told:?}");
    }
    let cell = Cell { trouble: Trouble::Status(503), stage: Stage::Delete };
    assert!(matches!(bed.meet(cell).await, Told::Failed(_)));
}
