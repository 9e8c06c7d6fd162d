//! Which rules are in force: the version of the store that is active, else the rules file.
//!
//! Tries, keeps and activates versions; [`follow`] puts in force what others activate.
//! Promises that nothing becomes active that fails its trial on the gateway that was asked.

pub mod follow;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::gateway::Gateway;
use crate::route::modules::Module;
use crate::route::reload::{Edition, RuleBook, Source, Wanted};
use crate::route::rules::RulesError;
use crate::route::suite::{self, TestFile};
use crate::route::texts::{Texts, Tried};
use crate::store::last_known::{self, LastRules};
use crate::store::rules::{Activation, ActiveRules, FileText, NewRules, PutRules, RulesTexts};
use crate::store::{Store, StoreError, chain};
use crate::time;

/// For the store at the start; a gateway does not wait longer for it.
const START: Duration = Duration::from_secs(2);

/// The author of versions that were the rules file of a gateway.
pub const FILE: &str = "file";

/// Why rules are not put or not activated. Then nothing has changed, unless it says otherwise.
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
    /// The store did not say what it has.
    #[error("the rules are unchanged: failed to {}", chain(.0))]
    Store(#[from] StoreError),
    /// The store did not say whether it changed something.
    #[error(
        "it is not known whether it was done, look with `warren rules list`: failed to {}",
        chain(.0)
    )]
    Unsure(StoreError),
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

/// What is active once it changed.
#[derive(Debug)]
pub struct Activated {
    /// What is to be in force on all gateways.
    pub active: ActiveRules,
    /// Why it is not in force here; `None`: it is.
    pub why_not: Option<String>,
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
    let told = in_time(START, ask(store)).await;
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

/// What the store says within this time, else why it says nothing.
async fn in_time<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, String> {
    match timeout(limit, call).await {
        Ok(said) => said.map_err(|error| chain(&error)),
        Err(_elapsed) => Err(format!("no answer within {limit:?}")),
    }
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
    Edition { source, texts: Arc::new(texts_of(texts.script, texts.files)) }
}

fn last_edition(last: LastRules) -> Edition {
    let source = Source::of(last.number);
    Edition { source, texts: Arc::new(texts_of(last.script, last.files)) }
}

/// Rules and the files beside them as operators and the store write them, for a trial.
pub fn texts_of(script: String, mut files: Vec<FileText>) -> Texts {
    // As they are read beside a rules file: the order is in the hash.
    files.sort_by(|one, other| one.name.cmp(&other.name));
    let (tests, modules) =
        files.into_iter().partition::<Vec<_>, _>(|file| suite::holds(&file.name));
    let test = |FileText { name, text }| TestFile { name, script: text.into_bytes() };
    let module = |FileText { name, text }| Module { name, script: text.into_bytes() };
    Texts {
        script: script.into_bytes(),
        modules: modules.into_iter().map(module).collect(),
        tests: tests.into_iter().map(test).collect(),
    }
}

fn stored(texts: &Texts) -> (String, Vec<FileText>) {
    // What came through a trial is UTF-8.
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let files =
        texts.files().map(|(name, script)| FileText { name: name.to_owned(), text: text(script) });
    (text(&texts.script), files.collect())
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
    let (script, files) = stored(&texts);
    let new = NewRules {
        hash: trial.hash.clone(),
        author: by.name,
        comment: by.comment,
        at_ms: time::unix_ms(),
        in_force: false,
        script,
        files,
    };
    let put = gateway.store.put_rules(new).await.map_err(Refusal::Unsure)?;
    info!(version = put.row.number, hash = put.row.hash, author = put.row.author, "rules put");
    Ok((put, trial))
}

/// Makes a version active, or the rules file of each gateway, and tells whether it is in force here.
/// `instead_of` must be active, if it is told.
pub async fn activate(
    gateway: &Gateway,
    wanted: Source,
    instead_of: Option<Source>,
    by: Asker,
) -> Result<Activated, Refusal> {
    let known = Source::of(gateway.store.active_rules().await?.number);
    let instead_of = instead_of.unwrap_or(known);
    let texts = match wanted {
        Source::Version(number) => {
            let found = gateway.store.rules(number).await?;
            let found = found.ok_or(Refusal::Unknown(number))?;
            texts_of(found.script, found.files)
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
    let activated = gateway.store.activate_rules(asked).await.map_err(Refusal::Unsure)?;
    let Some(active) = activated else {
        let found = Source::of(gateway.store.active_rules().await?.number);
        return Err(Refusal::Overtaken { expected: instead_of, found });
    };
    info!(rules = %wanted, %instead_of, actor, comment, "rules activated");
    // It is active by now, whatever becomes of it here.
    let why_not = follow::apply(&*gateway.store, &gateway.rules, active).await.err();
    if let Some(why) = &why_not {
        warn!(why, "the rules that were activated are not in force here");
    }
    Ok(Activated { active, why_not })
}

async fn read_file(gateway: &Gateway) -> Result<Texts, Refusal> {
    let file = gateway.registry.fleet().config.rules.file.clone();
    let read = tokio::task::spawn_blocking(move || Texts::read(&file)).await;
    read.map_err(|error| Refusal::Broke(error.to_string()))?.map_err(Refusal::Bad)
}

/// Makes active what was so before the last activation.
pub async fn roll_back(gateway: &Gateway, by: Asker) -> Result<Activated, Refusal> {
    let known = gateway.store.active_rules().await?;
    if known.change == 0 {
        return Err(Refusal::NoWayBack);
    }
    let instead_of = Some(Source::of(known.number));
    activate(gateway, Source::of(known.before), instead_of, by).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_the_store_did_not_answer_is_not_told_as_undone() {
        let away = || StoreError::Unavailable { store: "db".to_owned(), source: "closed".into() };
        assert_eq!(
            Refusal::from(away()).to_string(),
            "the rules are unchanged: failed to reach the store at db: closed"
        );
        assert_eq!(
            Refusal::Unsure(away()).to_string(),
            "it is not known whether it was done, look with `warren rules list`: failed to reach the \
             store at db: closed"
        );
    }
}
