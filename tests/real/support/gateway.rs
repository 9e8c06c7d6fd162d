//! Warren as its users run it: the binary, a file of settings, free ports. Its process ends with the
//! value; if the test is failing, the end of its log is shown.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use warren_stub::free_address;

use super::wire;

const READY_WITHIN: Duration = Duration::from_secs(180);
const LOG_LINES: usize = 40;

const SQLITE: &str = "sqlite:warren.db";

/// The coordinators that all tests share started long ago; those of a test that boots them settle.
/// None warms up: then luck would decide who meets the first queries.
const AT_ONCE: &str = "[health]\nsettle = \"0s\"\nramp = \"0s\"\n";
const SETTLING: &str = "[health]\nramp = \"0s\"\n";

/// What stands in the settings beside ports, store and addresses of clusters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extra {
    /// What the probes log in with.
    pub(crate) password: Option<String>,
    /// The body of the rules; without it all queries go to the only group.
    pub(crate) rules: Option<String>,
    /// The store; without it a file of its own.
    pub(crate) store: Option<String>,
    /// Further lines of the group.
    pub(crate) group: String,
    /// Further lines of each cluster.
    pub(crate) cluster: String,
    /// Further sections.
    pub(crate) sections: String,
    /// Whether its coordinators boot, and are to settle.
    pub(crate) booting: bool,
}

/// The settings for coordinators that boot.
fn booting() -> Extra {
    Extra { booting: true, ..Extra::default() }
}

impl Extra {
    /// The sections, with that of health.
    fn all_sections(&self) -> String {
        let health = if self.booting { SETTLING } else { AT_ONCE };
        match self.sections.replacen("[health]\n", health, 1) {
            replaced if replaced == self.sections => format!("{health}\n{}", self.sections),
            replaced => replaced,
        }
    }
}

/// A running Warren.
#[derive(Debug)]
pub(crate) struct Gateway {
    folder: TempDir,
    client: String,
    admin: String,
    process: Child,
    verb: &'static str,
}

impl Gateway {
    /// Starts Warren under its supervisor in front of clusters, and waits until all are ready.
    pub(crate) async fn start_supervised(clusters: &[(&str, &str)]) -> Self {
        let mut gateway = Self::start_as("supervise", SQLITE, clusters, &Extra::default());
        gateway.wait_until_ready().await;
        gateway
    }

    /// The same with this store.
    pub(crate) async fn start_supervised_with(store: &str, clusters: &[(&str, &str)]) -> Self {
        let mut gateway = Self::start_as("supervise", store, clusters, &Extra::default());
        gateway.wait_until_ready().await;
        gateway
    }

    /// With the settings for coordinators that boot; waits for nothing.
    pub(crate) fn start_for_booting(clusters: &[(&str, &str)]) -> Self {
        Self::start_as("serve", SQLITE, clusters, &booting())
    }

    /// The same under its supervisor.
    pub(crate) fn start_supervised_for_booting(clusters: &[(&str, &str)]) -> Self {
        Self::start_as("supervise", SQLITE, clusters, &booting())
    }

    /// Waits until a cluster has this value in a field.
    pub(crate) async fn until(&self, cluster: &str, field: &str, value: &str) {
        let waiting = async {
            while self.cluster(cluster).await[field] != value {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let told = tokio::time::timeout(READY_WITHIN, waiting).await;
        assert!(told.is_ok(), "{cluster} is not {value} within {READY_WITHIN:?}");
    }

    /// The phase of the newest rollout; empty if it cannot be told.
    pub(crate) async fn rollout_phase(&self) -> String {
        let asked = wire::ask(&self.admin, "GET", "/api/v1/rollouts?limit=1", &[], "").await;
        let told: Value = asked
            .ok()
            .and_then(|answer| serde_json::from_slice(&answer.body).ok())
            .unwrap_or_default();
        told[0]["phase"].as_str().unwrap_or_default().to_owned()
    }

    /// SIGKILL of the worker, which stays away for `away` and has then forgotten everything.
    pub(crate) async fn lose_worker(&self, away: Duration) {
        let supervisor = self.process.id();
        // A supervisor that stands still starts nobody; its sockets go on taking connections.
        signal("STOP", supervisor);
        signal("KILL", self.worker());
        self.forget();
        tokio::time::sleep(away).await;
        signal("CONT", supervisor);
    }

    /// Takes away what it kept.
    fn forget(&self) {
        for file in ["warren.db", "warren.db-wal", "warren.db-shm"] {
            // Which of them SQLite left depends on the moment of the kill.
            let _ = std::fs::remove_file(self.folder.path().join(file));
        }
        let state = self.folder.path().join("state");
        for kept in std::fs::read_dir(state).expect("its state folder").flatten() {
            let path = kept.path();
            // What the supervisor holds open stays.
            if !kept.file_name().to_string_lossy().starts_with("supervisor") {
                let gone = if path.is_dir() {
                    std::fs::remove_dir_all(&path)
                } else {
                    std::fs::remove_file(&path)
                };
                gone.expect("a writable folder");
            }
        }
    }

    /// The process that was started.
    pub(crate) fn process(&self) -> u32 {
        self.process.id()
    }

    /// The process id of the newest worker of a supervisor.
    pub(crate) fn worker(&self) -> u32 {
        let id = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.expect("a supervisor that runs");
        let newest = children.split_whitespace().last().expect("a worker that runs");
        newest.parse().expect("a process id")
    }

    /// `warren upgrade`.
    pub(crate) fn upgrade(&self) {
        let done = Command::new(env!("CARGO_BIN_EXE_warren"))
            .args(["upgrade", "--config"])
            .arg(self.folder.path().join("warren.toml"))
            .output()
            .expect("warren starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Starts Warren in front of clusters (`name`, `host:port`) of one group, and waits until its
    /// own probe calls all of them ready.
    pub(crate) async fn start(clusters: &[(&str, &str)]) -> Self {
        let mut gateway = Self::start_at_once(clusters);
        gateway.wait_until_ready().await;
        gateway
    }

    /// The same with further sections of settings.
    pub(crate) async fn start_with(sections: &str, clusters: &[(&str, &str)]) -> Self {
        let extra = Extra { sections: sections.to_owned(), ..Extra::default() };
        let mut gateway = Self::start_as("serve", SQLITE, clusters, &extra);
        gateway.wait_until_ready().await;
        gateway
    }

    /// Starts Warren and waits for nothing.
    pub(crate) fn start_at_once(clusters: &[(&str, &str)]) -> Self {
        Self::start_with_store(SQLITE, clusters)
    }

    /// Starts Warren with this store and waits for nothing.
    pub(crate) fn start_with_store(store: &str, clusters: &[(&str, &str)]) -> Self {
        Self::start_as("serve", store, clusters, &Extra::default())
    }

    /// Starts Warren with these settings and waits until all clusters are ready.
    pub(crate) async fn start_with_extra(clusters: &[(&str, &str)], extra: &Extra) -> Self {
        let store = extra.store.as_deref().unwrap_or(SQLITE);
        let mut gateway = Self::start_as("serve", store, clusters, extra);
        gateway.wait_until_ready().await;
        gateway
    }

    fn start_as(verb: &'static str, store: &str, clusters: &[(&str, &str)], extra: &Extra) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (client, admin) = (free_address().to_string(), free_address().to_string());
        let file = folder.path().join("warren.toml");
        let text = settings((&client, &admin), store, clusters, extra);
        std::fs::write(&file, text).expect("a writable folder");
        let body = extra.rules.as_deref().unwrap_or("return \"bi\"");
        let rules = format!("function route(request)\n  {body}\nend\n");
        std::fs::write(folder.path().join("route.lua"), rules).expect("a writable folder");
        let password = extra.password.as_deref().unwrap_or_default();
        std::fs::write(folder.path().join("password"), password).expect("a writable folder");
        let process = spawn(&folder, verb);
        Self { folder, client, admin, process, verb }
    }

    /// SIGKILL, and a new start on the same ports that has forgotten everything.
    pub(crate) fn kill_and_start_empty(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("our own child");
        for file in ["warren.db", "warren.db-wal", "warren.db-shm", "warren.db.lock"] {
            // Which of them SQLite left depends on the moment of the kill.
            let _ = std::fs::remove_file(self.folder.path().join(file));
        }
        std::fs::remove_dir_all(self.folder.path().join("state")).expect("its state folder");
        self.process = spawn(&self.folder, self.verb);
    }

    /// What the operators' port says of a cluster.
    pub(crate) async fn cluster(&self, name: &str) -> Value {
        let list = clusters(&self.admin).await;
        let found = list.into_iter().find(|cluster| cluster["name"] == name);
        found.unwrap_or_default()
    }

    /// All that it logged.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// A figure of `/metrics`: the sum of all lines that contain each of `parts`.
    pub(crate) async fn figure(&self, parts: &[&str]) -> f64 {
        let answer = wire::ask(&self.admin, "GET", "/metrics", &[], "").await.expect("figures");
        let text = String::from_utf8(answer.body).expect("text");
        text.lines()
            .filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Sets what is wanted of a cluster.
    pub(crate) async fn set_intent(&self, cluster: &str, intent: &str) {
        let path = format!("/api/v1/clusters/{cluster}/intent");
        let body = format!("{{\"intent\": \"{intent}\", \"reason\": \"a test\"}}");
        let json = [("Content-Type", "application/json")];
        let answer = wire::ask(&self.admin, "PUT", &path, &json, &body).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{}", String::from_utf8_lossy(&answer.body));
    }

    /// Its operators' port, `host:port`.
    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    /// Its settings file.
    pub(crate) fn settings(&self) -> std::path::PathBuf {
        self.folder.path().join("warren.toml")
    }

    /// Where clients connect, `host:port`.
    pub(crate) fn client(&self) -> &str {
        &self.client
    }

    /// Waits until its own probe calls every cluster ready.
    pub(crate) async fn wait_until_ready(&mut self) {
        let ready = async {
            loop {
                if let Some(status) = self.process.try_wait().expect("our own child") {
                    panic!("warren ended: {status}");
                }
                let health = health_of_clusters(&self.admin).await;
                if !health.is_empty() && health.iter().all(|health| health == "ready") {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let told = tokio::time::timeout(READY_WITHIN, ready).await;
        assert!(told.is_ok(), "no cluster became ready within {READY_WITHIN:?}");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill, and waiting returns at once.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            show_end_of(&self.log());
        }
    }
}

/// Sends a signal.
pub(crate) fn signal(name: &str, process: u32) {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status();
    assert!(sent.expect("kill runs").success(), "SIG{name} to {process}");
}

#[expect(clippy::print_stderr, reason = "the log is what a reader of a failed test needs")]
fn show_end_of(log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    let start = lines.len().saturating_sub(LOG_LINES);
    eprintln!("the end of Warren's log:\n{}", lines[start..].join("\n"));
}

fn spawn(folder: &TempDir, verb: &str) -> Child {
    let log = File::options().create(true).append(true).open(folder.path().join("log"));
    let log = log.expect("a writable folder");
    Command::new(env!("CARGO_BIN_EXE_warren"))
        .args([verb, "--config"])
        .arg(folder.path().join("warren.toml"))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("warren starts")
}

/// Every cluster as the operators' port tells it; empty while it does not answer.
async fn clusters(admin: &str) -> Vec<Value> {
    let Ok(answer) = wire::ask(admin, "GET", "/api/v1/clusters", &[], "").await else {
        return Vec::new();
    };
    let list: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    list.as_array().cloned().unwrap_or_default()
}

/// The health of every cluster.
async fn health_of_clusters(admin: &str) -> Vec<String> {
    let clusters = clusters(admin).await;
    clusters.iter().map(|cluster| cluster["health"].as_str().unwrap_or_default().into()).collect()
}

fn settings(
    (client, admin): (&str, &str),
    store: &str,
    clusters: &[(&str, &str)],
    extra: &Extra,
) -> String {
    let head = format!(
        "[listen]\nclient = \"{client}\"\nadmin = \"{admin}\"\n\n\
         [store]\nurl = \"{store}\"\n\n\
         [state]\nfolder = \"state\"\n\n\
         [rules]\nfile = \"route.lua\"\ndefault_group = \"bi\"\n\n\
         [[groups]]\nname = \"bi\"\n{}",
        extra.group
    );
    let probe = match extra.password {
        Some(_) => "probe = { password = { file = \"password\" } }\n",
        None => "",
    };
    let clusters = clusters
        .iter()
        .map(|(name, address)| cluster(name, "bi", address) + probe + &extra.cluster);
    head + &clusters.collect::<String>() + "\n" + &extra.all_sections()
}

/// The section of a cluster.
pub(crate) fn cluster(name: &str, group: &str, address: &str) -> String {
    format!("\n[[clusters]]\nname = \"{name}\"\ngroup = \"{group}\"\nurl = \"http://{address}\"\n")
}
