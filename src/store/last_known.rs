//! What the store said last, in the state folder, for a start without the store: the intents, and
//! the rules in force.
//!
//! Promises that a file is written whole or not at all, and that a file that cannot be read is an
//! error with words and never taken for "nothing is known".

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::state;
use crate::store::Intents;
use crate::store::rules::FileText;

/// A file of the state folder: its name, what is in it, and what counts where there is none.
type Kept = (&'static str, &'static str, &'static str);

const INTENTS: Kept = ("intents.json", "intents", "`initial_intent`");
const RULES: Kept = ("rules.json", "rules", "the rules file");

/// Why what was known last cannot be kept or read.
#[derive(Debug, Error)]
pub enum LastKnownError {
    /// The disk refuses.
    #[error("{act} the last known {what} in `{}`", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// What is kept there.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "read the last known {what} in `{}`: the file is damaged; remove it to start from the store or from {otherwise}",
        path.display()
    )]
    Damaged {
        /// What is kept there.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What counts without it.
        otherwise: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
}

/// The rules that were in force last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRules {
    /// The version that was active; 0: the rules file was.
    pub active: u64,
    /// The version that has these texts; 0: the store has none, as far as is known.
    pub number: u64,
    /// The rules.
    pub script: String,
    /// The files beside them; an older Warren kept tests alone.
    #[serde(alias = "tests")]
    pub files: Vec<FileText>,
}

/// Keeps the intents. Waits for the disk.
pub fn save(state_folder: &Path, intents: &Intents) -> Result<(), LastKnownError> {
    keep(state_folder, INTENTS, intents)
}

/// Reads the intents that were kept last; `None` when none ever were.
pub fn load(state_folder: &Path) -> Result<Option<Intents>, LastKnownError> {
    read(state_folder, INTENTS)
}

/// Keeps the rules in force. Waits for the disk.
pub fn save_rules(state_folder: &Path, rules: &LastRules) -> Result<(), LastKnownError> {
    keep(state_folder, RULES, rules)
}

/// Reads the rules that were kept last; `None` when none ever were.
pub fn load_rules(state_folder: &Path) -> Result<Option<LastRules>, LastKnownError> {
    read(state_folder, RULES)
}

fn keep(
    state_folder: &Path,
    (file, what, _): Kept,
    value: &impl Serialize,
) -> Result<(), LastKnownError> {
    let path = state_folder.join(file);
    let io_error = |source| LastKnownError::Io { act: "keep", what, path: path.clone(), source };
    fs::create_dir_all(state_folder).map_err(io_error)?;
    let text = serde_json::to_vec_pretty(value).map_err(|error| io_error(error.into()))?;
    state::replace(&path, &text).map_err(io_error)
}

fn read<T: DeserializeOwned>(
    state_folder: &Path,
    (file, what, otherwise): Kept,
) -> Result<Option<T>, LastKnownError> {
    let path = state_folder.join(file);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LastKnownError::Io { act: "read", what, path, source }),
        Ok(bytes) => bytes,
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(source) => Err(LastKnownError::Damaged { what, path, otherwise, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ClusterName;
    use crate::store::{Intent, IntentRow};

    fn intents() -> Intents {
        let row = IntentRow {
            cluster: ClusterName::parse("bi-blue").unwrap(),
            intent: Intent::Draining,
            actor: "airflow".to_owned(),
            reason: "the daily roll".to_owned(),
            at_ms: 5,
            version: 3,
        };
        Intents { version: 3, rows: vec![row] }
    }

    #[test]
    fn what_was_kept_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let state_folder = folder.path().join("state");
        assert_eq!(load(&state_folder).unwrap(), None);
        save(&state_folder, &Intents::default()).unwrap();
        save(&state_folder, &intents()).unwrap();
        assert_eq!(load(&state_folder).unwrap(), Some(intents()));
    }

    #[test]
    fn every_cut_and_every_damaged_text_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), &intents()).unwrap();
        let path = folder.path().join(INTENTS.0);
        let whole = fs::read(&path).unwrap();
        for end in 0..whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let error = load(folder.path()).unwrap_err();
            assert!(matches!(error, LastKnownError::Damaged { .. }), "{end} {error}");
        }
        let unknown = String::from_utf8(whole).unwrap().replace("draining", "dreaming");
        fs::write(&path, unknown).unwrap();
        assert!(load(folder.path()).is_err());
    }

    #[test]
    fn rules_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load_rules(folder.path()).unwrap(), None);
        let test = FileText { name: "tests/a.lua".to_owned(), text: "case 'ä' {}".to_owned() };
        let rules =
            LastRules { active: 0, number: 7, script: "-- \0\n".to_owned(), files: vec![test] };
        save_rules(folder.path(), &rules).unwrap();
        assert_eq!(load_rules(folder.path()).unwrap(), Some(rules));
        fs::write(folder.path().join(RULES.0), "{").unwrap();
        assert!(load_rules(folder.path()).unwrap_err().to_string().contains("the rules file"));
    }
}
