//! Follows the store: puts in force here what is active there, and tells it what came into force from a
//! file.
//!
//! Promises that only calls of the store are bounded in time: a trial may take as long as it likes.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::{FILE, edition, in_time, stored};
use crate::gateway::Gateway;
use crate::route::reload::{Edition, RuleBook, Source, Wanted};
use crate::route::texts::Texts;
use crate::store::last_known::{self, LastRules};
use crate::store::rules::{ActiveRules, NewRules};
use crate::store::{Store, StoreError, chain};
use crate::time;

/// Between two looks at what is active. A change is in force everywhere within a second.
const PERIOD: Duration = Duration::from_millis(400);

/// For one call of the store, or for keeping what is in force.
const LOOK: Duration = Duration::from_secs(5);

/// What of the rules in force was kept.
#[derive(Debug, Default)]
struct Noted {
    /// In the store, or there already.
    in_store: Option<Arc<Texts>>,
    /// In the state folder, with the number that was told there.
    in_folder: Option<(Arc<Texts>, u64)>,
}

/// Follows the store for as long as the gateway lives.
pub async fn keep(gateway: Arc<Gateway>) {
    let mut noted = Noted::default();
    let mut odd = None;
    let mut lags = false;
    loop {
        let followed = follow(&*gateway.store, &gateway.rules, &mut odd).await;
        let kept = in_time(LOOK, note(&gateway, &mut noted)).await;
        match followed.and(kept) {
            Ok(()) => {
                if std::mem::take(&mut lags) {
                    info!("the rules follow the store again");
                }
            }
            Err(why) => {
                if !std::mem::replace(&mut lags, true) {
                    warn!(why, "the rules cannot follow the store: those in force stay");
                }
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Puts in force what is active, if it is another than was heard of; an error says why the store does
/// not tell it. A count that went back is believed once it is read twice in a row: `odd` was read last.
async fn follow(
    store: &dyn Store,
    rules: &Arc<RuleBook>,
    odd: &mut Option<ActiveRules>,
) -> Result<(), String> {
    let active = in_time(LOOK, store.active_rules()).await?;
    let source = Source::of(active.number);
    let (known, known_source) = rules.wish();
    let read_last = odd.take();
    if (active.change, source) == (known, known_source) {
        return Ok(());
    }
    let is_odd = active.change <= known;
    if is_odd && read_last != Some(active) {
        *odd = Some(active);
        return Ok(());
    }
    let wanted = in_time(LOOK, find(store, active.number)).await?;
    if is_odd {
        let now = active.change;
        warn!(known, now, rules = %source, "the store counts activations anew, as a restored one does");
    }
    // Why it is not in force is told by the book.
    let _ = hear(rules, wanted, active.change, known).await;
    Ok(())
}

/// Puts in force here what was made active; an error says why it is not.
pub(super) async fn apply(
    store: &dyn Store,
    rules: &Arc<RuleBook>,
    active: ActiveRules,
) -> Result<(), String> {
    let wanted = in_time(LOOK, find(store, active.number)).await;
    let wanted = wanted
        .map_err(|why| format!("the store did not give them, and will be asked again: {why}"))?;
    hear(rules, wanted, active.change, active.change).await
}

/// Lets the book try what is wanted, however long that takes; an error says why it is not in force.
async fn hear(
    rules: &Arc<RuleBook>,
    wanted: Wanted,
    change: u64,
    known: u64,
) -> Result<(), String> {
    let rules = Arc::clone(rules);
    match tokio::task::spawn_blocking(move || rules.want(wanted, change, known)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err("others are wanted here that were activated later".to_owned()),
        Ok(Err(error)) => Err(error.in_words()),
        Err(error) => {
            error!(%error, "the trial of the rules broke off, the old rules stay in force");
            Err(format!("their trial broke off: {error}"))
        }
    }
}

/// The rules of that number; 0: those of the file.
async fn find(store: &dyn Store, number: u64) -> Result<Wanted, StoreError> {
    if number == 0 {
        return Ok(Wanted::File);
    }
    let found = store.rules(number).await?.ok_or_else(|| StoreError::Unusable {
        store: store.place().to_owned(),
        what: format!("it has no version {number} of the rules, which is the active one"),
    })?;
    Ok(Wanted::Version(edition(found)))
}

/// Keeps the rules in force: in the state folder, and those of a file as a version in the store.
async fn note(gateway: &Gateway, noted: &mut Noted) -> Result<(), StoreError> {
    let is_fallback = gateway.rules.status().is_fallback;
    let Edition { source, texts } = gateway.rules.in_force();
    let is_noted = noted.in_store.as_ref().is_some_and(|known| Arc::ptr_eq(known, &texts));
    if is_fallback || is_noted {
        return Ok(());
    }
    let config = gateway.registry.fleet().config.clone();
    let (script, files) = stored(&texts);
    let put = match source {
        Source::Version(number) => Ok(number),
        Source::File => {
            let new = NewRules {
                hash: texts.hash(),
                author: FILE.to_owned(),
                comment: format!("{} of {}", config.rules.file.display(), gateway.name),
                at_ms: time::unix_ms(),
                in_force: true,
                script: script.clone(),
                files: files.clone(),
            };
            gateway.store.put_rules(new).await.map(|put| put.row.number)
        }
    };
    let number = *put.as_ref().unwrap_or(&0);
    let is_kept = |(known, told): &(Arc<Texts>, u64)| Arc::ptr_eq(known, &texts) && *told == number;
    if !noted.in_folder.as_ref().is_some_and(is_kept) {
        let last = LastRules { active: source.number(), number, script, files };
        if let Err(error) = last_known::save_rules(&config.state_folder, &last) {
            let error = chain(&error);
            error!(error, "the rules could not be kept for a start without the store");
        }
        noted.in_folder = Some((texts.clone(), number));
    }
    put?;
    noted.in_store = Some(texts);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::config::{Rules, StoreUrl};
    use crate::route::tests::{groups, settings};
    use crate::store;
    use crate::store::rules::Activation;

    const BI: &str = "function route() return 'bi' end";
    const OLAP: &str = "function route() return 'olap' end";
    const BAD: &str = "function route() return";

    /// A gateway's rules, and stores that they may follow.
    struct Bed {
        folder: TempDir,
        rules: Arc<RuleBook>,
        odd: Option<ActiveRules>,
    }

    impl Bed {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let settings = Rules { file: folder.path().join("route.lua"), ..settings() };
            fs::write(&settings.file, BI).unwrap();
            let rules = RuleBook::start(&settings, &groups()).unwrap();
            Self { folder, rules, odd: None }
        }

        /// A store in which these were activated, one after the other.
        async fn store(&self, name: &str, scripts: &[&str]) -> Arc<dyn Store> {
            let store = store::open(&StoreUrl::Sqlite(self.folder.path().join(name))).unwrap();
            let mut instead_of = 0;
            for script in scripts {
                instead_of = activate(&*store, script, instead_of).await.number;
            }
            store
        }

        /// What is in force once this store was looked at.
        async fn look(&mut self, store: &Arc<dyn Store>) -> (u64, Source) {
            follow(&**store, &self.rules, &mut self.odd).await.unwrap();
            let (change, wanted) = self.rules.wish();
            assert_eq!(wanted, self.rules.status().source);
            (change, wanted)
        }
    }

    async fn activate(store: &dyn Store, script: &str, instead_of: u64) -> ActiveRules {
        let new = NewRules {
            hash: "5f0c1a9e1234".to_owned(),
            author: "ada".to_owned(),
            comment: String::new(),
            at_ms: 1,
            in_force: false,
            script: script.to_owned(),
            files: Vec::new(),
        };
        let number = store.put_rules(new).await.unwrap().row.number;
        let (actor, comment) = ("ada".to_owned(), String::new());
        let asked = Activation { number, instead_of, actor, comment, at_ms: 2 };
        store.activate_rules(asked).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_store_that_counts_anew_is_followed_and_one_stale_answer_is_not() {
        let mut bed = Bed::new();
        let newest = bed.store("newest.db", &[BI, OLAP]).await;
        let restored = bed.store("restored.db", &[BI]).await;
        let empty = bed.store("empty.db", &[]).await;
        let two = (2, Source::Version(2));
        assert_eq!(bed.look(&newest).await, two);
        for stale in [&restored, &empty, &newest, &restored] {
            assert_eq!(bed.look(stale).await, two, "an odd answer");
        }
        assert_eq!(bed.look(&restored).await, (1, Source::Version(1)), "the same once more");
        assert_eq!(bed.look(&empty).await, (1, Source::Version(1)));
        assert_eq!(bed.look(&empty).await, (0, Source::File));
        assert_eq!(bed.look(&newest).await, two, "a higher count is taken at once");
    }

    #[tokio::test]
    async fn other_rules_under_the_same_count_are_followed() {
        let mut bed = Bed::new();
        let one = bed.store("one.db", &[BI, OLAP]).await;
        let other = bed.store("other.db", &[BI, OLAP]).await;
        activate(&*one, BI, 2).await;
        activate(&*other, "function route(request) end", 2).await;
        assert_eq!(bed.look(&one).await, (3, Source::Version(1)));
        assert_eq!(bed.look(&other).await, (3, Source::Version(1)));
        assert_eq!(bed.look(&other).await, (3, Source::Version(3)));
    }

    #[tokio::test]
    async fn whoever_activates_hears_whether_it_is_in_force() {
        let bed = Bed::new();
        let store = bed.store("warren.db", &[OLAP]).await;
        let one = store.active_rules().await.unwrap();
        assert_eq!(apply(&*store, &bed.rules, one).await, Ok(()));
        assert_eq!(apply(&*store, &bed.rules, one).await, Ok(()), "it is, already");
        let two = activate(&*store, BAD, 1).await;
        for _ in 0..2 {
            let why = apply(&*store, &bed.rules, two).await.unwrap_err();
            assert!(why.starts_with("route.lua:1: "), "{why}");
        }
        let why = apply(&*store, &bed.rules, one).await.unwrap_err();
        assert_eq!(why, "others are wanted here that were activated later");
        let gone = ActiveRules { change: 3, number: 9, before: 2 };
        let why = apply(&*store, &bed.rules, gone).await.unwrap_err();
        assert!(
            why.ends_with("it has no version 9 of the rules, which is the active one"),
            "{why}"
        );
        assert_eq!(bed.rules.status().source, Source::Version(1));
    }
}
