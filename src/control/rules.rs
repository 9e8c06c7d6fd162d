//! Which rules are in force: the version of the store that is active, else the rules file.
//!
//! Follows the store, tells it what came into force from a file, and changes what is active.
//! Promises that nothing becomes active that fails its trial on the gateway that was asked.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::gateway::Gateway;
use crate::route::reload::{Edition, RuleBook, Source, Wanted};
use crate::route::rules::RulesError;
use crate::route::suite::TestFile;
use crate::route::texts::{Texts, Tried};
use crate::store::last_known::{self, LastRules};
use crate::store::rules::{Activation, ActiveRules, NewRules, PutRules, RulesTexts, TestText};
use crate::store::{Store, StoreError, chain};
use crate::time;

/// For the store at the start; a gateway does not wait longer for it.
const START: Duration = Duration::from_secs(2);

/// Between two looks at what is active. A change is in force everywhere within a second.
const PERIOD: Duration = Duration::from_millis(400);

/// For one look.
const LOOK: Duration = Duration::from_secs(5);

/// The author of versions that were the rules file of a gateway.
pub const FILE: &str = "file";

/// Why rules are not put or not activated. Then nothing has changed.
#[derive(Debug, Error)]
pub enum Refusal {
    /// There is no such version.
    #[error("there is no version {0} of the rules; `warren rules list` tells which there are")]
    Unknown(u64),
    /// They failed their trial.
    #[error("the rules are refused and nothing has changed: {}", .0.in_words())]
    Bad(RulesError),
    /// Another one is active than whoever asked knew.
    #[error("{found} is active and not {expected}: look again with `warren rules list`")]
    Overtaken {
        /// What was thought to be active.
        expected: Source,
        /// What is.
        found: Source,
    },
    /// There is nothing to go back to.
    #[error("nothing was activated yet, so there is no way back: each gateway runs its rules file")]
    NoWayBack,
    /// The trial did not end.
    #[error("the trial of the rules broke off: {0}")]
    Broke(String),
    /// The store.
    #[error("the rules are unchanged: failed to {}", chain(.0))]
    Store(#[from] StoreError),
}

/// What a trial of rules came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The hash by which they are known.
    pub hash: String,
    /// How many cases of tests they hold.
    pub cases: usize,
    /// What may go wrong with them.
    pub warnings: Vec<String>,
}

/// Who asks for something, and why.
#[derive(Debug, Clone)]
pub struct Asker {
    /// Who.
    pub name: String,
    /// Why.
    pub comment: String,
}

/// What the store says at the start.
struct Told {
    active: ActiveRules,
    version: Option<RulesTexts>,
    last_used: Option<RulesTexts>,
}

/// The rules that a gateway starts with: what is active by the store, else as last known here, else
/// the file. If these cannot be used, the last good ones stand in.
pub async fn begin(config: &Config, store: &dyn Store) -> Result<Arc<RuleBook>, RulesError> {
    let told = match timeout(START, ask(store)).await {
        Ok(Ok(told)) => Ok(told),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_elapsed) => Err(format!("no answer within {START:?}")),
    };
    let last = last_known::load_rules(&config.state_folder).unwrap_or_else(|error| {
        error!(error = chain(&error), "the last known rules cannot be read");
        None
    });
    let (wanted, change) = match &told {
        Ok(Told { active, version: Some(texts), .. }) => {
            (Wanted::Version(edition(texts.clone())), active.change)
        }
        // What is active and not there is looked for again, and told.
        Ok(told) if told.active.number > 0 => (Wanted::File, 0),
        Ok(told) => (Wanted::File, told.active.change),
        Err(why) => (last_wanted(last.as_ref(), why), 0),
    };
    let known = told.ok().and_then(|told| told.last_used).map(edition);
    let others: Vec<_> = last.map(last_edition).into_iter().chain(known).collect();
    RuleBook::begin(&config.rules, &config.group_names(), (wanted, change), &others)
}

async fn ask(store: &dyn Store) -> Result<Told, StoreError> {
    let active = store.active_rules().await?;
    let version = match active.number {
        0 => None,
        number => store.rules(number).await?,
    };
    Ok(Told { active, version, last_used: store.last_used_rules().await? })
}

fn last_wanted(last: Option<&LastRules>, why: &str) -> Wanted {
    match last.filter(|last| last.active > 0) {
        Some(last) => {
            warn!(why, version = last.active, "the store is away: the rules are the last known");
            Wanted::Version(last_edition(last.clone()))
        }
        None => {
            warn!(why, "the store is away: the rules are those of the file");
            Wanted::File
        }
    }
}

fn edition(texts: RulesTexts) -> Edition {
    let source = Source::of(texts.row.number);
    Edition { source, texts: Arc::new(texts_of(texts.script, texts.tests)) }
}

fn last_edition(last: LastRules) -> Edition {
    let source = Source::of(last.number);
    Edition { source, texts: Arc::new(texts_of(last.script, last.tests)) }
}

/// Rules and tests as operators and the store write them, for a trial.
pub fn texts_of(script: String, tests: Vec<TestText>) -> Texts {
    let file = |test: TestText| TestFile { name: test.name, script: test.text.into_bytes() };
    Texts { script: script.into_bytes(), tests: tests.into_iter().map(file).collect() }
}

fn stored(texts: &Texts) -> (String, Vec<TestText>) {
    // What came through a trial is UTF-8.
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let tests = texts.tests.iter();
    let tests = tests.map(|test| TestText { name: test.name.clone(), text: text(&test.script) });
    (text(&texts.script), tests.collect())
}

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
    let mut away = false;
    loop {
        let look = async {
            let followed = follow(&gateway).await;
            let kept = note(&gateway, &mut noted).await;
            followed.and(kept)
        };
        match timeout(LOOK, look).await {
            Ok(Ok(())) => {
                if std::mem::take(&mut away) {
                    info!("the rules follow the store again");
                }
            }
            failed => {
                if !std::mem::replace(&mut away, true) {
                    let why = match failed {
                        Ok(Err(error)) => chain(&error),
                        _ => format!("no answer within {LOOK:?}"),
                    };
                    warn!(why, "the rules stay as they are: the store is away");
                }
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

async fn follow(gateway: &Gateway) -> Result<(), StoreError> {
    let active = gateway.store.active_rules().await?;
    if active.change > gateway.rules.change() { apply(gateway, active).await } else { Ok(()) }
}

/// Puts in force here what is active.
async fn apply(gateway: &Gateway, active: ActiveRules) -> Result<(), StoreError> {
    let wanted = match active.number {
        0 => Wanted::File,
        number => Wanted::Version(edition(find(gateway, number).await?)),
    };
    let rules = gateway.rules.clone();
    let trial = tokio::task::spawn_blocking(move || rules.want(wanted, active.change));
    // That it failed is told by the book.
    if let Err(error) = trial.await {
        error!(%error, "the trial of the rules broke off, the old rules stay in force");
    }
    Ok(())
}

async fn find(gateway: &Gateway, number: u64) -> Result<RulesTexts, StoreError> {
    let found = gateway.store.rules(number).await?;
    found.ok_or_else(|| StoreError::Unusable {
        store: gateway.store.place().to_owned(),
        what: format!("it has no version {number} of the rules, which is the active one"),
    })
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
    let (script, tests) = stored(&texts);
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
                tests: tests.clone(),
            };
            gateway.store.put_rules(new).await.map(|put| put.row.number)
        }
    };
    let number = *put.as_ref().unwrap_or(&0);
    let is_kept = |(known, told): &(Arc<Texts>, u64)| Arc::ptr_eq(known, &texts) && *told == number;
    if !noted.in_folder.as_ref().is_some_and(is_kept) {
        let last = LastRules { active: source.number(), number, script, tests };
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

/// Tries rules, and changes nothing.
pub async fn try_out(gateway: &Gateway, texts: Arc<Texts>) -> Result<Trial, Refusal> {
    let config = gateway.registry.fleet().config.clone();
    let hash = texts.hash();
    let trial = move || texts.tried(&config.rules, &config.group_names());
    match tokio::task::spawn_blocking(trial).await {
        Ok(Ok(Tried { rules, cases })) => {
            let warnings = rules.warnings().iter().map(ToString::to_string).collect();
            Ok(Trial { hash, cases, warnings })
        }
        Ok(Err(error)) => Err(Refusal::Bad(error)),
        Err(error) => Err(Refusal::Broke(error.to_string())),
    }
}

/// Tries rules and keeps them as a version.
pub async fn put(gateway: &Gateway, texts: Texts, by: Asker) -> Result<(PutRules, Trial), Refusal> {
    let texts = Arc::new(texts);
    let trial = try_out(gateway, texts.clone()).await?;
    let (script, tests) = stored(&texts);
    let new = NewRules {
        hash: trial.hash.clone(),
        author: by.name,
        comment: by.comment,
        at_ms: time::unix_ms(),
        in_force: false,
        script,
        tests,
    };
    let put = gateway.store.put_rules(new).await?;
    info!(version = put.row.number, hash = put.row.hash, author = put.row.author, "rules put");
    Ok((put, trial))
}

/// Makes a version active, or the rules file of each gateway; in force here with the answer, unless the
/// store goes away in between.
/// `instead_of` must be active, if it is told.
pub async fn activate(
    gateway: &Gateway,
    wanted: Source,
    instead_of: Option<Source>,
    by: Asker,
) -> Result<ActiveRules, Refusal> {
    let known = Source::of(gateway.store.active_rules().await?.number);
    let instead_of = instead_of.unwrap_or(known);
    let texts = match wanted {
        Source::Version(number) => {
            let found = gateway.store.rules(number).await?;
            let found = found.ok_or(Refusal::Unknown(number))?;
            texts_of(found.script, found.tests)
        }
        Source::File => read_file(gateway).await?,
    };
    try_out(gateway, Arc::new(texts)).await?;
    let asked = Activation {
        number: wanted.number(),
        instead_of: instead_of.number(),
        actor: by.name,
        comment: by.comment,
        at_ms: time::unix_ms(),
    };
    let (actor, comment) = (asked.actor.clone(), asked.comment.clone());
    let Some(now) = gateway.store.activate_rules(asked).await? else {
        let found = Source::of(gateway.store.active_rules().await?.number);
        return Err(Refusal::Overtaken { expected: instead_of, found });
    };
    info!(rules = %wanted, %instead_of, actor, comment, "rules activated");
    // It is active by now, whatever becomes of it here; the next look at the store puts it in force.
    if let Err(error) = apply(gateway, now).await {
        warn!(error = chain(&error), "the rules that were activated are not in force here yet");
    }
    Ok(now)
}

async fn read_file(gateway: &Gateway) -> Result<Texts, Refusal> {
    let file = gateway.registry.fleet().config.rules.file.clone();
    let read = tokio::task::spawn_blocking(move || Texts::read(&file)).await;
    read.map_err(|error| Refusal::Broke(error.to_string()))?.map_err(Refusal::Bad)
}

/// Makes active what was so before the last activation.
pub async fn roll_back(gateway: &Gateway, by: Asker) -> Result<ActiveRules, Refusal> {
    let known = gateway.store.active_rules().await?;
    if known.change == 0 {
        return Err(Refusal::NoWayBack);
    }
    let instead_of = Some(Source::of(known.number));
    activate(gateway, Source::of(known.before), instead_of, by).await
}
