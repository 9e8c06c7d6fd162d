//! A client that does one act after another, as a program of a user does: its process lives on, and
//! its connections with it. Only Trino's CLI is started anew for each.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::{Client, Outcome, interrupt};

/// One client, ready for acts.
#[derive(Debug)]
pub(crate) struct Seat {
    /// Which it is.
    pub(crate) client: Client,
    source: String,
    program: Option<Program>,
}

/// A running program that reads acts and writes outcomes.
#[derive(Debug)]
struct Program {
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// Ends with the value.
    _process: Child,
}

impl Seat {
    /// A client whose program is started by its first act.
    pub(crate) fn new(client: Client, source: &str) -> Self {
        Self { client, source: source.to_owned(), program: None }
    }

    /// Runs a query to its end, but no longer than `limit`.
    pub(crate) async fn rows(&mut self, address: &str, sql: &str, limit: Duration) -> Outcome {
        let told = if self.client == Client::Cli {
            tokio::time::timeout(limit, cli_rows(address, &self.source, sql)).await
        } else {
            tokio::time::timeout(limit, self.told("rows", address, sql)).await
        };
        self.or_given_up(told.ok(), limit)
    }

    /// Runs a query and cancels it when it surely runs: the programs know that by its first row;
    /// the CLI holds rows back, so for it `running` must tell.
    pub(crate) async fn cancel(
        &mut self,
        address: &str,
        sql: &str,
        limit: Duration,
        running: impl Future<Output = ()>,
    ) -> Outcome {
        let told = if self.client == Client::Cli {
            let command = self.client.command(address.into(), &self.source, "cancel", sql);
            let act = tokio::time::timeout(limit, interrupt(command, running)).await;
            act.map(|()| Outcome::Cancelled)
        } else {
            tokio::time::timeout(limit, self.told("cancel", address, sql)).await
        };
        self.or_given_up(told.ok(), limit)
    }

    /// A program that is still busy is of no use for the next act.
    fn or_given_up(&mut self, told: Option<Outcome>, limit: Duration) -> Outcome {
        told.unwrap_or_else(|| {
            self.program = None;
            Outcome::Failed(format!("no end within {} s", limit.as_secs()))
        })
    }

    async fn told(&mut self, act: &str, address: &str, sql: &str) -> Outcome {
        let program = match self.program.take() {
            Some(program) => self.program.insert(program),
            None => self.program.insert(Program::start(self.client, &self.source)),
        };
        let line = format!("{act} {address} {sql}\n");
        program.input.write_all(line.as_bytes()).await.expect("its program reads");
        loop {
            let line = program.lines.next_line().await.expect("its program writes");
            match line.as_deref() {
                Some("running") => {}
                Some(line) => return Outcome::read(line),
                None => panic!("the program of {:?} ended", self.client),
            }
        }
    }
}

impl Program {
    fn start(client: Client, source: &str) -> Self {
        let mut command = client.command("127.0.0.1:1".into(), source, "each", "-");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("the client starts");
        let input = process.stdin.take().expect("it is piped");
        let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        Self { input, lines, _process: process }
    }
}

/// Runs one query with the CLI.
async fn cli_rows(address: &str, source: &str, sql: &str) -> Outcome {
    let mut command = Client::Cli.command(address.into(), source, "rows", sql);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.expect("the CLI starts");
    if output.status.success() {
        return Outcome::Rows(String::from_utf8_lossy(&output.stdout).lines().count() as u64);
    }
    // Java's warnings stand first, and what it says is red.
    let told = String::from_utf8_lossy(&output.stderr).replace("\u{1b}[31;1m", "");
    let last = told.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    Outcome::Failed(last.replace("\u{1b}[0m", ""))
}
