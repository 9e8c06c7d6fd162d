//! Keeps the rule set in force, and exchanges it: when its file changes, or when another version of
//! the store is wanted.
//!
//! Promises that bad rules never replace good ones, and that a request in flight keeps the set it
//! began with. The file's content is compared, not its times: so a rename, a swapped link and a copy
//! that keeps times are all seen. Knows no store: `control` says which version is wanted.

mod begin;
mod look;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::rules::{RuleSet, RulesError, Version};
use super::texts::Texts;
use crate::config::Rules;
use crate::ids::GroupName;
use crate::time::unix_ms;

/// The most findings that are kept of one failure.
const FINDINGS_MAX: usize = 100;

/// Where rules come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The rules file.
    File,
    /// A version of the store.
    Version(u64),
}

impl Source {
    /// The version of that number, or the file.
    pub fn of(number: u64) -> Self {
        if number == 0 { Self::File } else { Self::Version(number) }
    }

    /// The number of a version; 0 for the file.
    pub fn number(self) -> u64 {
        match self {
            Self::File => 0,
            Self::Version(number) => number,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => out.write_str("file"),
            Self::Version(number) => write!(out, "version {number}"),
        }
    }
}

/// Which rules are wanted.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Whatever the rules file holds.
    File,
    /// A version of the store.
    Version(Edition),
}

impl Wanted {
    fn source(&self) -> Source {
        match self {
            Self::File => Source::File,
            Self::Version(edition) => edition.source,
        }
    }
}

/// Rules that lie ready, and where they come from.
#[derive(Debug, Clone)]
pub struct Edition {
    /// Where they come from.
    pub source: Source,
    /// The rules and their tests.
    pub texts: Arc<Texts>,
}

/// How the rules are, for operators.
#[derive(Debug, Clone)]
pub struct Status {
    /// Where the set in force comes from.
    pub source: Source,
    /// The set in force.
    pub version: Version,
    /// Whether it stands in for another one that was wanted at the start and cannot be used.
    pub is_fallback: bool,
    /// What may go wrong with it.
    pub warnings: Vec<String>,
    /// Why the newest rules are not in force; `None`: they are.
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
    /// All that is wrong, each by itself.
    pub findings: Vec<String>,
    /// The label of a metric.
    pub kind: &'static str,
    /// The line, where it is known.
    pub line: Option<u32>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// The rule set in force and how it came to be.
#[derive(Debug)]
pub struct RuleBook {
    current: ArcSwap<RuleSet>,
    /// Held while a set is loaded, so that two reloads cannot overtake each other.
    turn: Mutex<()>,
    /// Held for a moment.
    inputs: Mutex<Inputs>,
    status: watch::Sender<Status>,
}

/// What a rule set is made of, and is to be made of.
#[derive(Debug, Clone)]
struct Inputs {
    settings: Rules,
    groups: Vec<GroupName>,
    /// The newest wish that was heard; older ones are not.
    change: u64,
    wanted: Wanted,
    in_force: Edition,
    seen: Seen,
}

/// What was last found in place of the file, good or bad.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// The fingerprint of the rules, their modules and their tests.
    Content([u8; 32]),
    /// Why they cannot be read.
    Nothing(String),
    /// Nobody looked, as the file does not count.
    Unknown,
}

/// Rules that are about to come into force.
struct Loaded {
    edition: Edition,
    rules: RuleSet,
}

impl RuleBook {
    /// The set in force. A request loads it once and keeps it.
    pub fn current(&self) -> Arc<RuleSet> {
        self.current.load_full()
    }

    /// How the rules are.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// The texts of the rules in force.
    pub fn in_force(&self) -> Edition {
        self.inputs().in_force.clone()
    }

    /// The newest wish that was heard: the count of it, and where the rules come from that it wants.
    pub fn wish(&self) -> (u64, Source) {
        let inputs = self.inputs();
        (inputs.change, inputs.wanted.source())
    }

    /// Wakes its holder whenever a load succeeded or failed.
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Puts these rules in force, unless a newer wish than `change` was heard, other than `known`; tells
    /// whether they are. On an error the old set stays, until the settings change or a wish is heard.
    ///
    /// Reads the file and runs the script: call it where some milliseconds do not matter.
    pub fn want(&self, wanted: Wanted, change: u64, known: u64) -> Result<bool, RulesError> {
        let _turn = self.turn();
        let mut next = self.inputs().clone();
        if change < next.change && next.change != known {
            return Ok(false);
        }
        let source = wanted.source();
        let is_heard = change == next.change && source == next.wanted.source();
        let is_well = self.status.borrow().last_error.is_none();
        if is_heard && is_well && source == next.in_force.source {
            return Ok(true);
        }
        next.change = change;
        next.wanted = wanted;
        let loaded = match next.find().and_then(|edition| edition.load(&next)) {
            Ok(loaded) => loaded,
            Err(error) => {
                *self.inputs() = next;
                self.keep(&error);
                return Err(error);
            }
        };
        next.in_force = loaded.edition.clone();
        *self.inputs() = next;
        self.swap(loaded);
        Ok(true)
    }

    /// Loads what is wanted under these settings, and tells whether a new set is in force. On an error
    /// nothing changes: the old set stays, and the old settings are those of the next look. A version
    /// of the store that does not fit keeps nobody from new settings, if the rules in force do.
    ///
    /// Reads the file and runs the script: call it where some milliseconds do not matter.
    pub fn reload(&self, settings: &Rules, groups: &[GroupName]) -> Result<bool, RulesError> {
        let _turn = self.turn();
        self.reload_in_turn(settings, groups, None)
    }

    /// The same under the settings that are in force once it is its turn, if the file still is as it was
    /// found: else somebody is still writing.
    fn reload_as_known(&self, found: &Seen) -> Result<bool, RulesError> {
        let _turn = self.turn();
        let Inputs { settings, groups, .. } = self.inputs().clone();
        self.reload_in_turn(&settings, &groups, Some(found))
    }

    fn reload_in_turn(
        &self,
        settings: &Rules,
        groups: &[GroupName],
        expected: Option<&Seen>,
    ) -> Result<bool, RulesError> {
        let known = self.inputs().clone();
        let same_inputs = known.are(settings, groups);
        let is_well = self.status.borrow().last_error.is_none();
        let mut next =
            Inputs { settings: settings.clone(), groups: groups.to_vec(), ..known.clone() };
        let found = next.find();
        let is_file = matches!(next.wanted, Wanted::File);
        if expected.is_some_and(|expected| *expected != next.seen) {
            return Ok(false);
        }
        if same_inputs && (!is_file || (is_well && next.seen == known.seen)) {
            return Ok(false);
        }
        if same_inputs {
            self.inputs().seen = next.seen.clone();
        }
        let loaded = match found.and_then(|edition| edition.load(&next)) {
            Ok(loaded) => loaded,
            Err(error) => {
                self.keep(&error);
                let stand_in = if is_file { None } else { next.in_force.load(&next).ok() };
                let Some(stand_in) = stand_in else { return Err(error) };
                *self.inputs() = next;
                // Only the settings are new: that the wanted version fails stays told.
                let version = stand_in.rules.version().clone();
                self.current.store(Arc::new(stand_in.rules));
                self.status.send_modify(|status| status.version = version);
                return Ok(true);
            }
        };
        next.in_force = loaded.edition.clone();
        *self.inputs() = next;
        self.swap(loaded);
        Ok(true)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inputs(&self) -> MutexGuard<'_, Inputs> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn swap(&self, loaded: Loaded) {
        let Loaded { edition: Edition { source, .. }, rules } = loaded;
        let version = rules.version().clone();
        let warnings = warnings(&rules);
        for warning in &warnings {
            warn!(%warning, "the rules may go wrong");
        }
        let old = self.current.swap(Arc::new(rules));
        info!(old = %old.version(), new = %version, %source, "new rules are in force");
        self.status.send_modify(|status| {
            status.source = source;
            status.version = version;
            status.is_fallback = false;
            status.warnings = warnings;
            status.last_error = None;
            status.reloads_ok += 1;
        });
    }

    fn keep(&self, problem: &RulesError) {
        let failure = ReloadFailure::of(problem);
        let version = self.current.load().version().clone();
        error!(error = %failure.text, kept = %version, "the rules were not reloaded");
        self.status.send_modify(|status| {
            status.last_error = Some(failure);
            status.reloads_failed += 1;
        });
    }
}

impl ReloadFailure {
    fn of(problem: &RulesError) -> Self {
        Self {
            text: problem.in_words(),
            findings: problem.findings().into_iter().take(FINDINGS_MAX).collect(),
            kind: problem.kind(),
            line: problem.line(),
            at_ms: unix_ms(),
        }
    }
}

impl Edition {
    fn load(&self, inputs: &Inputs) -> Result<Loaded, RulesError> {
        let tried = self.texts.tried(&inputs.settings, &inputs.groups)?;
        Ok(Loaded { edition: self.clone(), rules: tried.rules })
    }
}

impl Inputs {
    /// Finds the texts that are wanted; of a file it is noted what was seen.
    fn find(&mut self) -> Result<Edition, RulesError> {
        match &self.wanted {
            Wanted::Version(edition) => {
                self.seen = Seen::Unknown;
                Ok(edition.clone())
            }
            Wanted::File => {
                let texts = Texts::read(&self.settings.file);
                self.seen = Seen::of(&texts);
                Ok(Edition { source: Source::File, texts: Arc::new(texts?) })
            }
        }
    }

    fn are(&self, settings: &Rules, groups: &[GroupName]) -> bool {
        let Rules {
            file,
            default_group,
            routing_group_header,
            cpu,
            memory,
            on_error,
            alarm_after: _,
            http,
        } = settings;
        self.settings.file == *file
            && self.settings.default_group == *default_group
            && self.settings.routing_group_header == *routing_group_header
            && self.settings.cpu == *cpu
            && self.settings.memory == *memory
            && self.settings.on_error == *on_error
            && self.settings.http == *http
            && self.groups == groups
    }
}

impl Seen {
    fn of(texts: &Result<Texts, RulesError>) -> Self {
        match texts {
            Ok(texts) => Self::Content(texts.print()),
            Err(error) => Self::Nothing(error.in_words()),
        }
    }
}

fn warnings(rules: &RuleSet) -> Vec<String> {
    rules.warnings().iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use expect_test::{Expect, expect};
    use tempfile::TempDir;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;
    use crate::route::rules::hash;
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
            assert_eq!(status.version.hash, hash(script, &[]));
        }

        async fn check_kept(&mut self, script: &str, expected: Expect) {
            let status = self.next().await;
            assert_eq!(status.version.hash, hash(script, &[]));
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
        assert_eq!(before.version().hash, hash(BI, &[]), "a request in flight keeps its set");

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
    async fn a_changed_module_is_seen() {
        let mut watched = Watched::new(BI);
        let script = "local group = require 'group' function route() return group end";
        watched.write(script);
        watched
            .check_kept(
                BI,
                expect![
                    "route.lua:1: at the top level of the file: there is no module `group`, expected the name, as a text in the call, of a file `NAME.lua` beside the rules; known: none"
                ],
            )
            .await;
        for group in ["bi", "olap"] {
            fs::write(watched.path("group.lua"), format!("return '{group}'")).unwrap();
            let status = watched.next().await;
            assert_eq!(status.last_error, None);
            assert_eq!(
                status.version.hash,
                Texts::read(&watched.path("route.lua")).unwrap().hash()
            );
        }
        fs::write(watched.path("group.lua"), "return 'nobody'").unwrap();
        let status = watched.next().await;
        let why = status.last_error.unwrap().text;
        assert!(why.contains("no group is named `nobody`"), "{why}");
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
        assert_eq!(book.current().version().hash, hash(OLAP, &[]));
        assert!(book.status().last_error.is_some());
        assert!(book.reload(&settings, &groups()).unwrap(), "a good load ends the error");
        assert_eq!(book.status().last_error, None);
    }
    fn version(number: u64, script: &str) -> Wanted {
        let texts = Texts { script: script.as_bytes().to_vec(), ..Texts::default() };
        Wanted::Version(Edition { source: Source::Version(number), texts: Arc::new(texts) })
    }

    #[tokio::test]
    async fn a_version_is_in_force_until_the_file_is_wanted_again() {
        let mut watched = Watched::new(BI);
        let book = watched.book.clone();
        assert!(book.want(version(7, OLAP), 3, 0).unwrap());
        watched.check(OLAP).await;
        assert_eq!(book.status().source, Source::Version(7));
        assert!(book.want(version(7, OLAP), 3, 3).unwrap(), "it is in force");
        assert_eq!(book.status().reloads_ok, 1, "and was so before");
        assert!(!book.want(Wanted::File, 2, 2).unwrap(), "an older wish");

        let bad = || version(8, "function route() return 1 end");
        assert_eq!(book.want(bad(), 4, 3).unwrap_err().kind(), "script");
        assert!(book.want(bad(), 4, 4).is_err(), "it still is not in force");
        let status = watched.next().await;
        assert_eq!((status.source, status.version.hash), (Source::Version(7), hash(OLAP, &[])));
        assert!(status.last_error.is_some());
        let settings = Rules { file: watched.path("route.lua"), ..settings() };
        assert!(book.reload(&settings, &groups()[..1]).is_err(), "neither fits without olap");
        let more = Rules { alarm_after: 1, routing_group_header: true, ..settings.clone() };
        assert!(book.reload(&more, &groups()).unwrap(), "the rules in force fit new settings");
        assert!(book.status().last_error.is_some(), "and what is wanted is still not in force");

        watched.write("nope");
        assert!(book.want(Wanted::File, 5, 4).is_err());
        assert_eq!(book.status().source, Source::Version(7));
        watched.news.mark_unchanged();
        watched.write(BI);
        watched.check(BI).await;
        assert_eq!((book.status().source, book.wish()), (Source::File, (5, Source::File)));
        assert!(!book.want(version(7, OLAP), 4, 4).unwrap(), "somebody else heard a newer wish");
        assert!(book.want(version(7, OLAP), 4, 5).unwrap(), "the count went back");
        assert_eq!(book.wish(), (4, Source::Version(7)));
    }

    #[tokio::test]
    async fn a_file_that_breaks_its_tests_does_not_come_into_force() {
        let mut watched = Watched::new(BI);
        fs::create_dir(watched.path("tests")).unwrap();
        let test = "case 'all to bi' { expect = { group = 'bi' } }";
        fs::write(watched.path("tests/a.lua"), test).unwrap();
        watched.check(BI).await;
        watched.write(OLAP);
        watched
            .check_kept(
                BI,
                expect![[r#"1 of 1 cases of the tests do not hold; tests/a.lua:1: `all to bi`: expected group "bi", got "olap""#]],
            )
            .await;
        fs::write(watched.path("tests/a.lua"), test.replace("bi", "olap")).unwrap();
        watched.check(OLAP).await;
    }
}
