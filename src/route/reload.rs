//! Keeps the rule set in force, and exchanges it when its file changes.
//!
//! Promises that a bad file never replaces good rules, and that a request in flight keeps the set
//! it began with. The file's content is compared, not its times: so a rename, a swapped link and a
//! copy that keeps times are all seen.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{error, info, warn};

use super::rules::{RuleSet, RulesError, Version, hash, read};
use crate::config::Rules;
use crate::ids::GroupName;
use crate::time::unix_ms;

/// How often the file is looked at. With [`SETTLE`], a change is in force well within a second.
const PERIOD: Duration = Duration::from_millis(250);
/// A changed file is read again after this time: a writer that is not done yet is left to finish.
const SETTLE: Duration = Duration::from_millis(50);

/// How the rules are, for operators.
#[derive(Debug, Clone)]
pub struct Status {
    /// The set in force.
    pub version: Version,
    /// What may go wrong with it.
    pub warnings: Vec<String>,
    /// Why the newest file is not in force; `None`: it is.
    pub last_error: Option<ReloadFailure>,
    /// Sets that came into force since the start.
    pub reloads_ok: u64,
    /// Loads that failed since the start.
    pub reloads_failed: u64,
}

/// A load that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadFailure {
    /// The error with its causes.
    pub text: String,
    /// The label of a metric.
    pub kind: &'static str,
    /// The line of the rules file, where it is known.
    pub line: Option<u32>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// The rule set in force and how it came to be.
#[derive(Debug)]
pub struct RuleBook {
    current: ArcSwap<RuleSet>,
    /// Held while a set is loaded, so that two reloads cannot overtake each other.
    inputs: Mutex<Inputs>,
    status: watch::Sender<Status>,
}

/// What a rule set is made of, besides its file.
#[derive(Debug, Clone)]
struct Inputs {
    settings: Rules,
    groups: Vec<GroupName>,
    seen: Seen,
}

/// What was last found in place of the file, good or bad.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Content(String),
    Nothing(io::ErrorKind),
    TooLarge,
}

impl RuleBook {
    /// Loads the rules for the first time.
    pub fn start(settings: &Rules, groups: &[GroupName]) -> Result<Arc<Self>, RulesError> {
        let script = read(&settings.file)?;
        let rules = RuleSet::compile(&script, settings, groups)?;
        let (status, _) = watch::channel(Status {
            version: rules.version().clone(),
            warnings: warnings(&rules),
            last_error: None,
            reloads_ok: 0,
            reloads_failed: 0,
        });
        let seen = Seen::Content(hash(&script));
        let inputs = Inputs { settings: settings.clone(), groups: groups.to_vec(), seen };
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(rules),
            inputs: Mutex::new(inputs),
            status,
        }))
    }

    /// The set in force. A request loads it once and keeps it.
    pub fn current(&self) -> Arc<RuleSet> {
        self.current.load_full()
    }

    /// How the rules are.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Wakes its holder whenever a load succeeded or failed.
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Loads the file under these settings, and tells whether a new set is in force. On an error
    /// nothing changes: the old set stays, and the old settings are those of the next look.
    ///
    /// Reads the file and runs the script: call it where some milliseconds do not matter.
    pub fn reload(&self, settings: &Rules, groups: &[GroupName]) -> Result<bool, RulesError> {
        let mut inputs = self.inputs();
        let script = read(&settings.file);
        let seen = Seen::of(&script);
        let same_inputs = inputs.are(settings, groups);
        if same_inputs && seen == inputs.seen && self.status.borrow().last_error.is_none() {
            return Ok(false);
        }
        if same_inputs {
            inputs.seen = seen.clone();
        }
        let rules = script
            .and_then(|script| RuleSet::compile(&script, settings, groups))
            .inspect_err(|error| self.keep(error))?;
        *inputs = Inputs { settings: settings.clone(), groups: groups.to_vec(), seen };
        self.swap(rules);
        Ok(true)
    }

    /// Looks at the file for as long as it is awaited, and reloads it when it changed.
    pub async fn watch(self: Arc<Self>) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }

    async fn look(self: &Arc<Self>) {
        let (file, known) = self.known();
        let Some(found) = look_at(file.clone()).await else { return };
        if found == known {
            return;
        }
        sleep(SETTLE).await;
        if look_at(file).await != Some(found) {
            return;
        }
        let book = Arc::clone(self);
        let reloaded = tokio::task::spawn_blocking(move || {
            let Inputs { settings, groups, .. } = book.inputs().clone();
            book.reload(&settings, &groups)
        });
        if let Err(error) = reloaded.await {
            error!(%error, "the reload of the rules broke off, the old rules stay in force");
        }
    }

    fn inputs(&self) -> MutexGuard<'_, Inputs> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> (PathBuf, Seen) {
        let inputs = self.inputs();
        (inputs.settings.file.clone(), inputs.seen.clone())
    }

    fn swap(&self, rules: RuleSet) {
        let version = rules.version().clone();
        let warnings = warnings(&rules);
        for warning in &warnings {
            warn!(%warning, "the rules may go wrong");
        }
        let old = self.current.swap(Arc::new(rules));
        info!(old = %old.version(), new = %version, "new rules are in force");
        self.status.send_modify(|status| {
            status.version = version;
            status.warnings = warnings;
            status.last_error = None;
            status.reloads_ok += 1;
        });
    }

    fn keep(&self, problem: &RulesError) {
        let failure = ReloadFailure {
            text: chain(problem),
            kind: problem.kind(),
            line: problem.line(),
            at_ms: unix_ms(),
        };
        let version = self.current.load().version().clone();
        error!(error = %failure.text, kept = %version, "the rules were not reloaded");
        self.status.send_modify(|status| {
            status.last_error = Some(failure);
            status.reloads_failed += 1;
        });
    }
}

impl Inputs {
    fn are(&self, settings: &Rules, groups: &[GroupName]) -> bool {
        let Rules { file, default_group, routing_group_header, cpu, memory } = settings;
        self.settings.file == *file
            && self.settings.default_group == *default_group
            && self.settings.routing_group_header == *routing_group_header
            && self.settings.cpu == *cpu
            && self.settings.memory == *memory
            && self.groups == groups
    }
}

impl Seen {
    fn of(script: &Result<Vec<u8>, RulesError>) -> Self {
        match script {
            Ok(script) => Self::Content(hash(script)),
            Err(RulesError::Unreadable { source, .. }) => Self::Nothing(source.kind()),
            Err(_) => Self::TooLarge,
        }
    }
}

async fn look_at(file: PathBuf) -> Option<Seen> {
    tokio::task::spawn_blocking(move || Seen::of(&read(&file))).await.ok()
}

fn warnings(rules: &RuleSet) -> Vec<String> {
    rules.warnings().iter().map(ToString::to_string).collect()
}

fn chain(problem: &RulesError) -> String {
    let mut text = problem.to_string();
    let mut source = std::error::Error::source(problem);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use expect_test::{Expect, expect};
    use tempfile::TempDir;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;
    use crate::route::tests::{groups, settings};

    const BI: &str = "function route() return 'bi' end";
    const OLAP: &str = "function route() return 'olap' end";

    /// A book that watches a file of its own.
    struct Watched {
        folder: TempDir,
        book: Arc<RuleBook>,
        news: watch::Receiver<Status>,
        _watching: Watching,
    }

    /// The watch, until the test is over.
    struct Watching(JoinHandle<()>);

    impl Drop for Watching {
        fn drop(&mut self) {
            self.0.abort();
        }
    }

    impl Watched {
        fn new(script: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("route.lua"), script).unwrap();
            Self::of(folder)
        }

        fn of(folder: TempDir) -> Self {
            let settings = Rules { file: folder.path().join("route.lua"), ..settings() };
            let book = RuleBook::start(&settings, &groups()).unwrap();
            let _watching = Watching(tokio::spawn(Arc::clone(&book).watch()));
            Self { news: book.subscribe(), folder, book, _watching }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, script: &str) {
            fs::write(self.path("route.lua"), script).unwrap();
        }

        /// Waits for the next load, and tells what it came to.
        async fn next(&mut self) -> Status {
            timeout(Duration::from_secs(20), self.news.changed()).await.unwrap().unwrap();
            let status = self.news.borrow_and_update().clone();
            assert_eq!(*self.book.current().version(), status.version);
            status
        }

        async fn check(&mut self, script: &str) {
            let status = self.next().await;
            assert_eq!(status.last_error, None);
            assert_eq!(status.version.hash, hash(script));
        }

        async fn check_kept(&mut self, script: &str, expected: Expect) {
            let status = self.next().await;
            assert_eq!(status.version.hash, hash(script));
            let text = status.last_error.unwrap().text;
            expected.assert_eq(&text.replace(&self.folder.path().display().to_string(), "…"));
        }
    }

    #[tokio::test]
    async fn a_changed_file_comes_into_force_and_a_bad_one_does_not() {
        let mut watched = Watched::new(BI);
        let before = watched.book.current();
        watched.write(OLAP);
        watched.check(OLAP).await;
        assert_eq!(before.version().hash, hash(BI), "a request in flight keeps its set");

        watched.write("function route() return 'bi'");
        watched
            .check_kept(
                OLAP,
                expect!["route.lua:1: Expected 'end' (to close 'function' at column 1), got <eof>"],
            )
            .await;
        watched.write("function route() while true do end end");
        watched
            .check_kept(
                OLAP,
                expect![
                    "route.lua:1: the rules took more than 2ms of processor time (`rules.cpu`)"
                ],
            )
            .await;
        watched.write("");
        watched
            .check_kept(
                OLAP,
                expect![
                    "rules file `…/route.lua` is empty, expected `function route(request) … end`"
                ],
            )
            .await;
        fs::write(watched.path("route.lua"), b"\xff\xfe").unwrap();
        watched
            .check_kept(
                OLAP,
                expect!["rules file `…/route.lua` is not UTF-8 in line 1, expected a Lua text"],
            )
            .await;
        fs::remove_file(watched.path("route.lua")).unwrap();
        watched.check_kept(OLAP, expect!["rules file `…/route.lua` cannot be read: No such file or directory (os error 2)"]).await;

        watched.write(BI);
        watched.check(BI).await;
        let status = watched.book.status();
        assert_eq!((status.reloads_ok, status.reloads_failed), (2, 5));
    }

    #[tokio::test]
    async fn the_old_content_put_back_ends_the_error() {
        let mut watched = Watched::new(BI);
        watched.write("nope");
        watched
            .check_kept(
                BI,
                expect![
                    "route.lua:1: Incomplete statement: expected assignment or a function call"
                ],
            )
            .await;
        watched.write(BI);
        watched.check(BI).await;
    }

    #[tokio::test]
    async fn a_file_renamed_into_place_is_seen() {
        let mut watched = Watched::new(BI);
        fs::write(watched.path("route.lua.new"), OLAP).unwrap();
        fs::rename(watched.path("route.lua.new"), watched.path("route.lua")).unwrap();
        watched.check(OLAP).await;
    }

    #[tokio::test]
    async fn a_swapped_link_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(Path::new(target), folder.path().join(name)).unwrap();
        };
        // As Kubernetes lays out a ConfigMap: file → ..data/file, and ..data is swapped.
        for (version, script) in [("v1", BI), ("v2", OLAP)] {
            fs::create_dir(folder.path().join(version)).unwrap();
            fs::write(folder.path().join(version).join("route.lua"), script).unwrap();
        }
        link("v1", "..data");
        link("..data/route.lua", "route.lua");
        link("v2", "..data_new");
        let mut watched = Watched::of(folder);
        fs::rename(watched.path("..data_new"), watched.path("..data")).unwrap();
        watched.check(OLAP).await;
    }

    #[tokio::test]
    async fn a_reload_by_hand_tells_whether_something_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("route.lua");
        fs::write(&file, BI).unwrap();
        let settings = Rules { file, ..settings() };
        let book = RuleBook::start(&settings, &groups()).unwrap();
        assert!(!book.reload(&settings, &groups()).unwrap());
        assert!(book.reload(&settings, &groups()[..1]).unwrap(), "other groups");
        fs::write(&settings.file, OLAP).unwrap();
        assert!(book.reload(&settings, &groups()).unwrap());

        let elsewhere = Rules { file: folder.path().join("none.lua"), ..settings.clone() };
        assert_eq!(book.reload(&elsewhere, &groups()).unwrap_err().kind(), "unreadable");
        assert_eq!(book.current().version().hash, hash(OLAP));
        assert!(book.status().last_error.is_some());
        assert!(book.reload(&settings, &groups()).unwrap(), "a good load ends the error");
        assert_eq!(book.status().last_error, None);
    }
}
