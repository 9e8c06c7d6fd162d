//! Stub clusters in pairs, and one Warren in front of them all: each pair is a group of its own, so
//! that several runs go on side by side and know nothing of each other.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use warren_stub::{Stub, StubOptions, free_address};

use super::wire::{Line, Manner};

const READY_WITHIN: Duration = Duration::from_secs(30);

/// Two clusters of one group.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The group, and the `X-Trino-Source` that leads to it.
    pub(crate) group: String,
    pub(crate) stubs: [Stub; 2],
    pub(crate) weights: [u32; 2],
}

/// How long a simulated time lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale(pub(crate) f64);

impl Scale {
    /// The real length of a simulated time.
    pub(crate) fn real(self, simulated: Duration) -> Duration {
        simulated.mul_f64(self.0)
    }

    fn text(self, seconds: u64) -> String {
        format!("{}ms", self.real(Duration::from_secs(seconds)).as_millis())
    }
}

impl Pair {
    /// Two coordinators that carry nothing.
    pub(crate) fn start(index: usize, weights: [u32; 2], scale: Scale) -> Self {
        let stubs = [0, 1].map(|side| {
            let options = StubOptions::scaled(scale.0);
            let stub = Stub::start(StubOptions { seed: (index * 2 + side) as u64, ..options });
            stub.delay_lists(scale.real(LATE));
            stub
        });
        Self { group: format!("pair{index}"), stubs, weights }
    }

    /// Which of the two has a query.
    pub(crate) fn side_of(&self, id: &str) -> usize {
        let side = self.stubs.iter().position(|stub| id.ends_with(&stub.coordinator_id()));
        side.unwrap_or_else(|| panic!("{id} went to neither cluster of {}", self.group))
    }
}

/// A store of its own.
const SQLITE: &str = "sqlite:warren.db";

/// How late each list of queries is at most.
pub(crate) const LATE: Duration = Duration::from_secs(1);

/// Between two polls, in simulated seconds.
pub(crate) const POLL: u64 = 2;

/// How long a query counts whose client has not come, in simulated seconds; the default.
const GRACE: u64 = 5;

/// A running Warren. Its process ends with the value; a failing test shows the end of its log.
#[derive(Debug)]
pub(crate) struct Warren {
    folder: TempDir,
    pub(crate) client: SocketAddr,
    admin: SocketAddr,
    process: Child,
}

impl Warren {
    /// Starts Warren in front of all pairs and waits until it calls all clusters ready.
    pub(crate) async fn start(pairs: &[Pair], scale: Scale) -> Self {
        Self::start_on(SQLITE, pairs, scale).await
    }

    /// The same with this store.
    pub(crate) async fn start_on(store: &str, pairs: &[Pair], scale: Scale) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (client, admin) = (free_address(), free_address());
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("a writable folder");
        };
        write("warren.toml", &settings((client, admin), store, pairs, scale));
        write("route.lua", "function route(request)\n  return request.source\nend\n");
        let log = File::create(folder.path().join("log")).expect("a writable folder");
        let process = Command::new(env!("CARGO_BIN_EXE_warren"))
            .args(["serve", "--config", "warren.toml"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("warren starts");
        let mut warren = Self { folder, client, admin, process };
        let told = tokio::time::timeout(READY_WITHIN, warren.until_ready(pairs.len() * 2)).await;
        assert!(told.is_ok(), "not all clusters became ready within {READY_WITHIN:?}");
        warren
    }

    async fn until_ready(&mut self, clusters: usize) {
        loop {
            if let Some(status) = self.process.try_wait().expect("our own child") {
                panic!("warren ended: {status}");
            }
            let ready = self.clusters().await.is_some_and(|list| {
                list.len() == clusters && list.iter().all(|cluster| cluster["health"] == "ready")
            });
            if ready {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What `GET /api/v1/clusters` tells; `None` while the port is not open.
    pub(crate) async fn clusters(&self) -> Option<Vec<Value>> {
        let body = self.operators("/api/v1/clusters").await?;
        serde_json::from_slice(&body).ok()
    }

    /// A cluster that owns live queries, as the operators' port tells it; `None`: there is none.
    pub(crate) async fn owning(&self) -> Option<Value> {
        let clusters = self.clusters().await.expect("the operators' port is open");
        clusters.into_iter().find(|cluster| cluster["owned"] != 0)
    }

    /// The figures, as text.
    pub(crate) async fn metrics(&self) -> String {
        let body = self.operators("/metrics").await.expect("the operators' port is open");
        String::from_utf8(body).expect("figures are text")
    }

    async fn operators(&self, path: &str) -> Option<Vec<u8>> {
        let manner = Manner { source: "operator", accepts: "" };
        let mut line = Line::open(self.admin).await.ok()?;
        Some(line.ask("GET", path, manner, "").await.ok()?.body)
    }
}

impl Drop for Warren {
    #[expect(clippy::print_stderr, reason = "the log is what a reader of a failed test needs")]
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill, and waiting returns at once.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let start = lines.len().saturating_sub(40);
            eprintln!("the end of Warren's log:\n{}", lines[start..].join("\n"));
        }
    }
}

/// Warren's periods, scaled as the stubs' time. The one probe statement of each cluster runs before
/// the first query, so that all that a stub counts afterwards came through the clients' port.
fn settings(
    (client, admin): (SocketAddr, SocketAddr),
    store: &str,
    pairs: &[Pair],
    scale: Scale,
) -> String {
    let mut text = format!(
        "[listen]\nclient = \"{client}\"\nadmin = \"{admin}\"\nworkers = 2\n\n\
         [store]\nurl = \"{store}\"\n\n[state]\nfolder = \"state\"\n\n\
         [rules]\nfile = \"route.lua\"\ndefault_group = \"{}\"\ncpu = \"100ms\"\n\n\
         [log]\nlevel = \"warn\"\n\n\
         [health]\ninfo_period = \"200ms\"\nstatement_period = \"1h\"\nrise = 1\nsettle = \"0s\"\nramp = \"0s\"\n\
         load_period = \"{}\"\n\n[timeouts]\nfirst_get = \"{}\"\n\n",
        pairs[0].group,
        scale.text(POLL),
        scale.text(GRACE),
    );
    for pair in pairs {
        let group = &pair.group;
        text += &["[[groups]]\nname = \"", group, "\"\n\n"].concat();
        for (side, (stub, weight)) in pair.stubs.iter().zip(pair.weights).enumerate() {
            let url = stub.url();
            let cluster = format!(
                "[[clusters]]\nname = \"{group}-{side}\"\ngroup = \"{group}\"\nurl = \"{url}\"\n\
                 weight = {weight}\n\n"
            );
            text += &cluster;
        }
    }
    text
}
