//! Warren as its users run it: the binary, a file of settings, free ports. It can be killed and
//! started again on the same ports. If the test fails, the end of its log is shown.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use warren_stub::client::Client;
use warren_stub::{Stub, free_address};

use super::eventually;

const LOG_LINES: usize = 40;

/// Looks that are short enough for tests.
const HEALTH: &str = "info_period = \"100ms\"\nstatement_period = \"1s\"\nload_period = \"200ms\"\n\
                      timeout = \"1s\"\nstatement_timeout = \"1s\"\nsettle = \"0s\"\nramp = \"0s\"\n";

/// The settings of a gateway.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    clusters: Vec<[String; 3]>,
    store: String,
    rules: String,
    timeouts: Vec<(String, String)>,
    /// Whether a supervisor keeps its sockets.
    supervised: bool,
    /// A Python program that starts it: its arguments are the clients' address and the command.
    launcher: Option<String>,
    /// Further sections.
    sections: String,
    /// Further lines, each for its section.
    settings: Vec<(String, String)>,
}

impl Plan {
    /// Clusters as (name, group, coordinator); the first group is the default one.
    pub(crate) fn of(clusters: &[(&str, &str, &Stub)]) -> Self {
        let told = |(name, group, stub): &(&str, &str, &Stub)| {
            [(*name).to_owned(), (*group).to_owned(), stub.url()]
        };
        Self {
            clusters: clusters.iter().map(told).collect(),
            store: "sqlite:warren.db".to_owned(),
            rules: "function route(request)\n  return nil\nend\n".to_owned(),
            timeouts: Vec::new(),
            supervised: false,
            sections: String::new(),
            launcher: None,
            settings: Vec::new(),
        }
    }

    /// With these rules.
    pub(crate) fn rules(self, rules: &str) -> Self {
        Self { rules: rules.to_owned(), ..self }
    }

    /// With this store.
    pub(crate) fn store(self, url: &str) -> Self {
        Self { store: url.to_owned(), ..self }
    }

    /// With this setting of `[timeouts]`.
    pub(crate) fn timeout(mut self, name: &str, value: &str) -> Self {
        self.timeouts.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Started by a Python program, which gets the clients' address and the command.
    pub(crate) fn started_by(self, program: &str) -> Self {
        Self { launcher: Some(program.to_owned()), ..self }
    }

    /// With these sections at the end of its settings.
    pub(crate) fn sections(self, text: &str) -> Self {
        Self { sections: text.to_owned(), ..self }
    }

    /// Run by `warren supervise`.
    pub(crate) fn supervised(self) -> Self {
        Self { supervised: true, ..self }
    }

    /// With this line in `[section]`, which is `listen`, `rules`, `health`, `limits` or `queries`, for the group of
    /// that name in `groups.NAME`, for the cluster in `clusters.NAME`; one of `clusters` stands in each.
    pub(crate) fn setting(mut self, section: &str, line: &str) -> Self {
        self.settings.push((section.to_owned(), line.to_owned()));
        self
    }

    fn lines_of(&self, section: &str) -> String {
        let lines = self.settings.iter().filter(|(of, _)| of == section);
        lines.fold(String::new(), |text, (_, line)| text + line + "\n")
    }

    /// Without the cluster of that name.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.clusters.retain(|[known, ..]| known != name);
        self
    }

    /// Starts Warren and waits until its ports answer.
    pub(crate) fn start(self) -> Gateway {
        let folder = tempfile::tempdir().unwrap();
        let (client, admin) = (free_address(), free_address());
        let mut gateway = Gateway { folder, client, admin, process: None, plan: self };
        fs::write(gateway.rules_file(), &gateway.plan.rules).unwrap();
        gateway.write_settings();
        gateway.start();
        gateway
    }

    /// The same, and waits until all clusters are ready.
    pub(crate) fn start_ready(self) -> Gateway {
        let gateway = self.start();
        gateway.wait_until_ready();
        gateway
    }

    fn text(&self, client: SocketAddr, admin: SocketAddr) -> String {
        let mut text = format!(
            "[listen]\nclient = \"{client}\"\nadmin = \"{admin}\"\n{}\n[store]\nurl = \"{}\"\n\n\
             [state]\nfolder = \"state\"\n\n[rules]\nfile = \"route.lua\"\n\
             default_group = \"{}\"\n{}\n[limits]\n{}\n[queries]\n{}\n[health]\n{HEALTH}{}\n\
             [timeouts]\n",
            self.lines_of("listen"),
            self.store,
            self.clusters[0][1],
            self.lines_of("rules"),
            self.lines_of("limits"),
            self.lines_of("queries"),
            self.lines_of("health"),
        );
        for (name, value) in &self.timeouts {
            writeln!(text, "{name} = \"{value}\"").unwrap();
        }
        let mut groups: Vec<&str> = Vec::new();
        for [name, group, url] in &self.clusters {
            if !groups.contains(&group.as_str()) {
                groups.push(group);
                let lines = self.lines_of(&format!("groups.{group}"));
                write!(text, "\n[[groups]]\nname = \"{group}\"\n{lines}").unwrap();
            }
            write!(
                text,
                "\n[[clusters]]\nname = \"{name}\"\ngroup = \"{group}\"\nurl = \"{url}\"\n{}{}",
                self.lines_of("clusters"),
                self.lines_of(&format!("clusters.{name}"))
            )
            .unwrap();
        }
        text + "\n" + &self.sections
    }
}

/// A Warren that runs, or was killed and can be started again.
#[derive(Debug)]
pub(crate) struct Gateway {
    folder: TempDir,
    client: SocketAddr,
    admin: SocketAddr,
    process: Option<Child>,
    plan: Plan,
}

impl Gateway {
    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.client
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.client)
    }

    /// A client of its operators' port.
    pub(crate) fn operator(&self) -> Client {
        Client::new(self.admin).with("Content-Type", "application/json")
    }

    /// Its rules.
    pub(crate) fn rules_file(&self) -> PathBuf {
        self.folder.path().join("route.lua")
    }

    /// Its settings.
    pub(crate) fn settings_file(&self) -> PathBuf {
        self.folder.path().join("warren.toml")
    }

    /// Puts other settings in the place of its file, whole at once, as a careful operator does.
    pub(crate) fn settle(&mut self, plan: Plan) {
        self.plan = plan;
        self.write_settings();
    }

    fn write_settings(&self) {
        replace(&self.settings_file(), &self.plan.text(self.client, self.admin));
    }

    /// Starts its process and waits until both ports answer.
    pub(crate) fn start(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.log_file()).unwrap();
        let verb = if self.plan.supervised { "supervise" } else { "serve" };
        let process = self.command(&[verb], &log).spawn().unwrap();
        self.process = Some(process);
        eventually("both ports answer", || {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "warren ended: {ended:?}");
            let admin = self.operator().get("/livez").ok()?;
            // Nothing of this reaches a cluster.
            let client = self.client().get("/").ok()?;
            (admin.status == 200 && client.status == 404).then_some(())
        });
    }

    fn command(&self, verb: &[&str], log: &File) -> Command {
        let warren = env!("CARGO_BIN_EXE_warren");
        let mut command = match &self.plan.launcher {
            None => Command::new(warren),
            Some(program) => {
                let mut python = Command::new("python3");
                python.args(["-c", program, &self.client.to_string(), warren]);
                python
            }
        };
        command
            .args(verb)
            .arg("--config")
            .arg(self.settings_file())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log.try_clone().unwrap());
        command
    }

    /// Runs another command of Warren's with its settings.
    pub(crate) fn run(&self, verb: &[&str]) -> Output {
        self.run_with(&self.settings_file(), verb)
    }

    /// The same with another file of settings.
    pub(crate) fn run_with(&self, settings: &Path, verb: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_warren"))
            .args(verb)
            .arg("--config")
            .arg(settings)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Takes away what it kept: its database file and its state folder.
    pub(crate) fn forget(&self) {
        assert!(self.process.is_none(), "it runs");
        for name in ["warren.db", "warren.db-wal", "warren.db-shm"] {
            let _absent = fs::remove_file(self.folder.path().join(name));
        }
        let _absent = fs::remove_dir_all(self.folder.path().join("state"));
    }

    /// The id of its process.
    pub(crate) fn process(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// The process ids of the workers of a supervisor, the oldest first.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let id = self.process.as_ref().unwrap().id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.unwrap_or_default();
        children.split_whitespace().filter_map(|id| id.parse().ok()).collect()
    }

    /// The only worker of a supervisor.
    pub(crate) fn worker(&self) -> u32 {
        eventually("one worker runs", || match self.workers().as_slice() {
            [one] => Some(*one),
            _ => None,
        })
    }

    /// Sends a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.as_ref().unwrap().id();
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until its process has ended by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        let status = eventually("warren ends", || process.try_wait().unwrap());
        assert!(process.wait().is_ok());
        status
    }

    /// All clusters as the operators' port tells them.
    pub(crate) fn clusters(&self) -> Vec<Value> {
        let told = self.operator().get("/api/v1/clusters").unwrap().json();
        told.as_array().unwrap().clone()
    }

    /// A cluster; `None`: it is gone.
    pub(crate) fn cluster(&self, name: &str) -> Option<Value> {
        self.clusters().into_iter().find(|cluster| cluster["name"] == name)
    }

    /// How many live queries Warren knows on a cluster.
    pub(crate) fn owned(&self, name: &str) -> u64 {
        self.cluster(name).unwrap()["owned"].as_u64().unwrap()
    }

    /// The text of `/metrics`.
    pub(crate) fn metrics(&self) -> String {
        String::from_utf8(self.operator().get("/metrics").unwrap().body).unwrap()
    }

    /// A figure of `warren_state`.
    pub(crate) fn figure(&self, name: &str) -> i64 {
        self.metric(&format!("warren_state{{figure=\"{name}\"}}")).unwrap_or_default()
    }

    /// The value of a line of `/metrics`.
    pub(crate) fn metric(&self, line: &str) -> Option<i64> {
        let metrics = self.metrics();
        let value = metrics.lines().find_map(|told| told.strip_prefix(line))?;
        value.trim().parse().ok()
    }

    /// Sets what is wanted of a cluster; the status of the answer.
    pub(crate) fn set_intent(&self, cluster: &str, intent: &str) -> u16 {
        let body = format!("{{\"intent\": \"{intent}\", \"reason\": \"a test\"}}");
        let path = format!("/api/v1/clusters/{cluster}/intent");
        self.operator().send("PUT", &path, &body).unwrap().status
    }

    /// Waits until a cluster has this health.
    pub(crate) fn wait_until(&self, cluster: &str, health: &str) {
        eventually(&format!("{cluster} is {health}"), || {
            (self.cluster(cluster)?["health"] == health).then_some(())
        });
    }

    /// Waits until all clusters are ready.
    pub(crate) fn wait_until_ready(&self) {
        eventually("all clusters are ready", || {
            self.clusters().iter().all(|cluster| cluster["health"] == "ready").then_some(())
        });
    }

    /// Whether it holds that cluster for ready.
    pub(crate) fn is_ready(&self, name: &str) -> bool {
        self.cluster(name).is_some_and(|cluster| cluster["health"] == "ready")
    }

    /// All that it logged.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself: then there is nothing to kill.
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            show_end_of(&self.log());
        }
    }
}

#[expect(clippy::print_stderr, reason = "the log is what a reader of a failed test needs")]
fn show_end_of(log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    let start = lines.len().saturating_sub(LOG_LINES);
    eprintln!("the end of Warren's log:\n{}", lines[start..].join("\n"));
}

/// Sends a signal, such as `KILL`, to a process.
pub(crate) fn kill(signal: &str, process: u32) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &process.to_string()]).status();
    assert!(sent.unwrap().success(), "SIG{signal} to {process}");
}

/// Whether a process has not ended.
pub(crate) fn lives(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

/// Writes a file beside and moves it into place.
pub(crate) fn replace(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, file).unwrap();
}
