//! The rules that a gateway starts with: those that are wanted, else the last good ones.
//!
//! Promises that a gateway starts while any of them can be used, and that it says so if they are
//! not those that are wanted.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tracing::{error, warn};

use super::{Edition, Inputs, Loaded, ReloadFailure, RuleBook, Seen, Source, Status, Wanted};
use crate::config::Rules;
use crate::ids::GroupName;
use crate::route::rules::RulesError;
use crate::route::texts::Texts;

impl RuleBook {
    /// Loads the rules file for the first time.
    pub fn start(settings: &Rules, groups: &[GroupName]) -> Result<Arc<Self>, RulesError> {
        Self::begin(settings, groups, (Wanted::File, 0), &[])
    }

    /// Loads what is wanted as of a change. If it cannot be used, the first of `others` stands in that
    /// can, else the rules file without its tests. An error: nothing can be used.
    pub fn begin(
        settings: &Rules,
        groups: &[GroupName],
        (wanted, change): (Wanted, u64),
        others: &[Edition],
    ) -> Result<Arc<Self>, RulesError> {
        let mut inputs = Inputs {
            settings: settings.clone(),
            groups: groups.to_vec(),
            change,
            wanted,
            in_force: Edition { source: Source::File, texts: Arc::default() },
            seen: Seen::Unknown,
        };
        let why = match inputs.find().and_then(|edition| edition.load(&inputs)) {
            Ok(loaded) => return Ok(Self::with(inputs, loaded, None)),
            Err(why) => why,
        };
        let stand_in = others.iter().find_map(|edition| usable(edition, &inputs));
        let Some(loaded) = stand_in.or_else(|| untested(&inputs)) else { return Err(why) };
        error!(
            error = %why.in_words(), source = %loaded.edition.source, version = %loaded.rules.version(),
            "the wanted rules cannot be used: others stand in for them"
        );
        Ok(Self::with(inputs, loaded, Some(&why)))
    }

    fn with(mut inputs: Inputs, loaded: Loaded, why: Option<&RulesError>) -> Arc<Self> {
        let Loaded { edition, rules } = loaded;
        let (status, _) = watch::channel(Status {
            source: edition.source,
            version: rules.version().clone(),
            is_fallback: why.is_some(),
            warnings: super::warnings(&rules),
            last_error: why.map(ReloadFailure::of),
            reloads_ok: 0,
            reloads_failed: u64::from(why.is_some()),
        });
        inputs.in_force = edition;
        Arc::new(Self {
            current: ArcSwap::from_pointee(rules),
            turn: Mutex::default(),
            inputs: Mutex::new(inputs),
            status,
        })
    }
}

fn usable(edition: &Edition, inputs: &Inputs) -> Option<Loaded> {
    let loaded = edition.load(inputs);
    let told = loaded.inspect_err(|error| {
        warn!(source = %edition.source, error = %error.in_words(), "these rules cannot stand in");
    });
    told.ok()
}

/// The rules file as it is: rules that do not hold their tests are better than no gateway.
fn untested(inputs: &Inputs) -> Option<Loaded> {
    let texts = Texts::without_tests(&inputs.settings.file).ok()?;
    let rules = texts.compiled(&inputs.settings, &inputs.groups).ok()?;
    let edition = Edition { source: Source::File, texts: Arc::new(texts) };
    Some(Loaded { edition, rules })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::route::tests::{groups, settings};

    const BI: &str = "function route() return 'bi' end";
    const OLAP: &str = "function route() return 'olap' end";
    const BAD: &str = "function route() return";

    fn edition(number: u64, script: &str) -> Edition {
        let texts = Texts { script: script.as_bytes().to_vec(), ..Texts::default() };
        Edition { source: Source::of(number), texts: Arc::new(texts) }
    }

    /// Begins with a file that holds `script`, beside a test that wants all in `bi`.
    fn check(script: &str, wanted: Wanted, others: &[Edition], expected: Expect) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("route.lua");
        fs::write(&file, script).unwrap();
        fs::create_dir(folder.path().join("tests")).unwrap();
        let test = "case 'a' { expect = { group = 'bi' } }";
        fs::write(folder.path().join("tests/a.lua"), test).unwrap();
        let settings = Rules { file, ..settings() };
        let told = match RuleBook::begin(&settings, &groups(), (wanted, 1), others) {
            Err(error) => format!("none: {}", error.kind()),
            Ok(book) => {
                let status = book.status();
                assert_eq!(*book.current().version(), status.version);
                assert_eq!(status.is_fallback, status.last_error.is_some());
                let script = String::from_utf8(book.in_force().texts.script.clone()).unwrap();
                let why = status.last_error.map_or("wanted", |failure| failure.kind);
                format!("{}, {why}: {script}", status.source)
            }
        };
        expected.assert_eq(&told);
    }

    #[test]
    fn the_wanted_rules_else_the_last_good_ones() {
        let others = [edition(4, BAD), edition(3, OLAP), edition(0, BI)];
        let seven = |script| Wanted::Version(edition(7, script));
        check(BI, Wanted::File, &others, expect!["file, wanted: function route() return 'bi' end"]);
        check(
            BAD,
            Wanted::File,
            &others,
            expect!["version 3, script: function route() return 'olap' end"],
        );
        check(
            OLAP,
            Wanted::File,
            &others[2..],
            expect!["file, tests: function route() return 'bi' end"],
        );
        check(
            OLAP,
            Wanted::File,
            &others[..1],
            expect!["file, tests: function route() return 'olap' end"],
        );
        check(BAD, Wanted::File, &others[..1], expect!["none: script"]);
        check(
            BAD,
            seven(OLAP),
            &others,
            expect!["version 7, wanted: function route() return 'olap' end"],
        );
        check(
            BI,
            seven(BAD),
            &others[..1],
            expect!["file, script: function route() return 'bi' end"],
        );
    }
}
