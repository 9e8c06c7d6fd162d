//! The clients that people use, each as a process of its own: Trino's CLI, the JDBC driver, the
//! Python DBAPI and SQLAlchemy, Go's driver, the JavaScript library. What they see comes back as
//! text in one form, whichever it was.

pub(crate) mod seat;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::coordinator::USER;
use super::surroundings::file;

/// The longest that one act of a client may take, beside what its queries last by themselves; then it
/// is killed and the test fails.
const LIMIT: Duration = Duration::from_secs(300);

/// One of the clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// `trino-cli`.
    Cli,
    /// `trino-jdbc`, by a small Java program.
    Jdbc,
    /// The DBAPI of the Python package `trino`, by a small Python program.
    Dbapi,
    /// SQLAlchemy over the same.
    SqlAlchemy,
    /// `trino-go-client`, by a small Go program.
    Go,
    /// The JavaScript package `trino-client`, by a small program for Node.
    Js,
}

/// How a query ended, as its user saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With so many rows.
    Rows(u64),
    /// Its user cancelled it.
    Cancelled,
    /// With this text.
    Failed(String),
}

impl Outcome {
    /// Reads a line of a client's program.
    fn read(line: &str) -> Self {
        match line.split_once(' ') {
            Some(("rows", count)) => Self::Rows(count.parse().expect("a number of rows")),
            Some(("failed", text)) => Self::Failed(text.to_owned()),
            None if line == "cancelled" => Self::Cancelled,
            _ => panic!("a client's program wrote `{line}`"),
        }
    }
}

/// The way to a server, and what a client says there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Way<'a> {
    /// `host:port`.
    pub(crate) address: &'a str,
    /// The file of the authority that a server with TLS is believed by; without it, no TLS.
    pub(crate) authority: Option<&'a Path>,
    /// The password of the user.
    pub(crate) password: Option<&'a str>,
    /// In which encoding a result may be spooled, such as `json+zstd`; without it, the client's own.
    pub(crate) encoding: Option<&'a str>,
    /// The source; without it, one that tells the act.
    pub(crate) source: Option<&'a str>,
    /// How long its query lasts by itself, if that is long: it may take so much more.
    pub(crate) lasts: Duration,
}

impl<'a> From<&'a str> for Way<'a> {
    fn from(address: &'a str) -> Self {
        Self { address, ..Self::default() }
    }
}

impl<'a> From<&'a String> for Way<'a> {
    fn from(address: &'a String) -> Self {
        Self::from(address.as_str())
    }
}

impl Way<'_> {
    fn url(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Adds it to the CLI's command line.
    fn tell_cli(&self, java: &mut Command) {
        if let Some(authority) = self.authority {
            java.arg("--truststore-path").arg(authority);
        }
        if let Some(password) = self.password {
            java.arg("--password").env("TRINO_PASSWORD", password);
        }
        if let Some(encoding) = self.encoding {
            java.args(["--encoding", encoding]);
        }
    }

    /// Puts it where the programs of the other clients look.
    fn tell_program(&self, command: &mut Command) {
        // The library below the Python client prefers these to what it is told.
        command.env_remove("REQUESTS_CA_BUNDLE").env_remove("CURL_CA_BUNDLE");
        if let Some(authority) = self.authority {
            command.env("CLIENT_AUTHORITY", authority);
        }
        if let Some(password) = self.password {
            command.env("CLIENT_PASSWORD", password);
        }
        if let Some(encoding) = self.encoding {
            command.env("CLIENT_ENCODING", encoding);
        }
    }
}

impl Client {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Cli, Self::Jdbc, Self::Dbapi, Self::SqlAlchemy, Self::Go, Self::Js];

    /// Those that send a request again when its connection breaks: all but JavaScript's.
    pub(crate) const PATIENT: [Self; 5] =
        [Self::Cli, Self::Jdbc, Self::Dbapi, Self::SqlAlchemy, Self::Go];

    /// A name that can stand in a source.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Jdbc => "jdbc",
            Self::Dbapi => "dbapi",
            Self::SqlAlchemy => "sqlalchemy",
            Self::Go => "go",
            Self::Js => "js",
        }
    }

    /// Runs statements (separated by `;`) in one session: the rows that they give, tab-separated,
    /// or `error …` with Trino's own text.
    pub(crate) async fn rows(self, way: impl Into<Way<'_>>, statements: &str) -> String {
        let output = run(self.command(way.into(), "real-rows", "rows", statements)).await;
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        if self != Self::Cli {
            assert!(output.status.success(), "{self:?}: {}", explain(&output));
            return without_query_id(&text);
        }
        let told = String::from_utf8_lossy(&output.stderr);
        match told.lines().find(|line| line.starts_with("Query ") && line.contains(" failed: ")) {
            Some(failure) => format!("error {}", without_query_id(failure)),
            None => text,
        }
    }

    /// Runs a prepared statement with one number for its `?`.
    pub(crate) async fn prepared(
        self,
        way: impl Into<Way<'_>>,
        statement: &str,
        parameter: u32,
    ) -> String {
        let way = way.into();
        if self == Self::Cli {
            let both = format!("PREPARE asked FROM {statement}; EXECUTE asked USING {parameter}");
            return self.rows(way, &both).await;
        }
        let mut command = self.command(way, "real-prepared", "prepared", statement);
        command.arg(parameter.to_string());
        let output = run(command).await;
        assert!(output.status.success(), "{self:?}: {}", explain(&output));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Fetches all rows and returns how many they are and the sum of their CRC-32s: the same in
    /// whatever order they come.
    pub(crate) async fn checksum(self, way: impl Into<Way<'_>>, statement: &str) -> (u64, u64) {
        let command = self.command(way.into(), "real-checksum", "checksum", statement);
        if self == Self::Cli {
            return within_limit(sum_lines(command)).await;
        }
        let output = run(command).await;
        assert!(output.status.success(), "{self:?}: {}", explain(&output));
        let text = String::from_utf8_lossy(&output.stdout);
        let parts = text.trim().split_once('\t');
        let (count, sum) = parts.unwrap_or_else(|| panic!("{self:?} said `{text}`"));
        (count.parse().expect("a count"), sum.parse().expect("a sum"))
    }

    /// Runs transactions of several statements; only the DBAPI does.
    pub(crate) async fn transactions(self, address: &str, count: u32) -> String {
        let output =
            run(self.command(address.into(), "real-tx", "transactions", &count.to_string())).await;
        assert!(output.status.success(), "{self:?}: {}", explain(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Starts a query that does not end, and cancels it once it surely runs: the programs know
    /// that by its first row; the CLI holds rows back, so for it `running` must tell.
    pub(crate) async fn cancel(
        self,
        address: &str,
        source: &str,
        statement: &str,
        running: impl Future<Output = ()>,
    ) {
        let way = Way { source: Some(source), ..address.into() };
        let command = self.command(way, "real-cancel", "cancel", statement);
        if self == Self::Cli {
            return within_limit(interrupt(command, running)).await;
        }
        let output = run(command).await;
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text, "running\ncancelled\n", "{self:?}: {}", explain(&output));
    }

    /// Runs one query of the CLI; how it ended.
    pub(crate) async fn outcome(
        self,
        way: impl Into<Way<'_>>,
        source: &str,
        statement: &str,
    ) -> Outcome {
        let way = way.into();
        let output = run_for(self.command(way, source, "rows", statement), way.lasts).await;
        if output.status.success() {
            let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
            return Outcome::Rows(u64::try_from(lines).expect("fits"));
        }
        Outcome::Failed(explain(&output).replace('\n', " "))
    }

    /// Runs a query `count` times at once, each with a connection of its own; how each ended.
    pub(crate) async fn many(
        self,
        way: impl Into<Way<'_>>,
        source: &str,
        count: u32,
        statement: &str,
    ) -> Vec<Outcome> {
        let way = way.into();
        let mut command = self.command(way, source, "many", statement);
        command.arg(count.to_string());
        self.outcomes(command, way.lasts).await
    }

    /// Starts a query `rate` times a second for some seconds, each with a connection of its own; a
    /// slow one delays no other. How each ended.
    pub(crate) async fn pace(
        self,
        address: &str,
        source: &str,
        (rate, seconds): (u32, u32),
        statement: &str,
    ) -> Vec<Outcome> {
        let mut command = self.command(address.into(), source, "pace", statement);
        command.args([rate, seconds].map(|number| number.to_string()));
        self.outcomes(command, Duration::from_secs(seconds.into())).await
    }

    /// Runs a command that lasts so long by itself, and writes an outcome a line.
    async fn outcomes(self, command: Command, lasts: Duration) -> Vec<Outcome> {
        assert!(!matches!(self, Self::Cli | Self::SqlAlchemy), "{self:?} runs one query at a time");
        let output = run_for(command, lasts).await;
        assert!(output.status.success(), "{self:?}: {}", explain(&output));
        String::from_utf8_lossy(&output.stdout).lines().map(Outcome::read).collect()
    }

    /// All that it says about a statement that a server refuses, its own stack trace included.
    pub(crate) async fn refusal(self, way: Way<'_>, statement: &str) -> String {
        explain(&run(self.command(way, "real-refusal", "rows", statement)).await)
    }

    /// The command line that does an act.
    fn command(self, way: Way<'_>, source: &str, act: &str, statement: &str) -> Command {
        let source = way.source.unwrap_or(source);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/clients");
        let mut command = match self {
            Self::Cli => {
                let mut java = Command::new(file("WARREN_TEST_JAVA"));
                java.arg("--enable-native-access=ALL-UNNAMED").arg("-jar");
                java.arg(file("WARREN_TEST_CLI_JAR")).arg(way.url());
                java.args(["--user", USER, "--source", source, "--output-format", "TSV"]);
                java.args(["--execute", statement]);
                way.tell_cli(&mut java);
                return java;
            }
            Self::Jdbc => {
                let mut java = Command::new(file("WARREN_TEST_JAVA"));
                java.arg("-cp").arg(file("WARREN_TEST_JDBC_JAR"));
                java.arg(folder.join("JdbcClient.java"));
                java
            }
            Self::Dbapi | Self::SqlAlchemy => {
                let mut python = Command::new(file("WARREN_TEST_PYTHON"));
                python.arg(folder.join("client.py")).arg(self.name());
                python
            }
            Self::Go => Command::new(file("WARREN_TEST_GO")),
            Self::Js => {
                let mut node = Command::new(file("WARREN_TEST_NODE"));
                node.env("NODE_PATH", file("WARREN_TEST_JS_MODULES"));
                node.arg(folder.join("js/client.js"));
                node
            }
        };
        command.args([way.address, source, act, statement]);
        way.tell_program(&mut command);
        command
    }
}

async fn run(command: Command) -> Output {
    run_for(command, Duration::ZERO).await
}

/// Runs a command that lasts so long by itself.
async fn run_for(mut command: Command, lasts: Duration) -> Output {
    command.stdin(Stdio::null()).kill_on_drop(true);
    within(LIMIT + lasts, command.output()).await.expect("the client starts")
}

async fn within_limit<T>(act: impl Future<Output = T>) -> T {
    within(LIMIT, act).await
}

async fn within<T>(limit: Duration, act: impl Future<Output = T>) -> T {
    let told = tokio::time::timeout(limit, act).await;
    told.unwrap_or_else(|_| panic!("a client was not done after {limit:?}"))
}

/// What a failed client said.
fn explain(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Strips what differs from query to query, and the words that a client puts around it.
fn without_query_id(text: &str) -> String {
    let pattern = regex::Regex::new(r"\(#[0-9a-z_]+\): |Query failed |Query [0-9a-z_]+ failed: ");
    pattern.expect("a valid pattern").replace_all(text, "").into_owned()
}

/// Sums the rows that the CLI writes, as they come: they need not fit into memory.
async fn sum_lines(command: Command) -> (u64, u64) {
    let mut child = piped(command);
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped"));
    let (mut count, mut sum) = (0, 0);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await.expect("the pipe can be read") > 0 {
        count += 1;
        sum += u64::from(crc32fast::hash(line.strip_suffix(b"\n").unwrap_or(&line)));
        line.clear();
    }
    let status = child.wait().await.expect("our own child");
    assert!(status.success(), "the CLI ended with {status}");
    (count, sum)
}

/// Does what Ctrl-C does, once the query runs.
async fn interrupt(command: Command, running: impl Future<Output = ()>) {
    let mut child = piped(command);
    let mut out = child.stdout.take().expect("it is piped");
    running.await;
    let id = child.id().expect("the CLI still runs").to_string();
    let told = Command::new("kill").args(["-INT", &id]).status().await;
    assert!(told.expect("kill starts").success(), "the CLI still ran");
    tokio::io::copy(&mut out, &mut tokio::io::sink()).await.expect("the pipe can be read");
    child.wait().await.expect("our own child");
}

fn piped(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("the client starts")
}
