//! The last known intents, in the state folder, for a start without the store.
//!
//! Promises that the file is written whole or not at all, and that a file that cannot be read is
//! an error with words and never taken for "no intents".

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::state;
use crate::store::Intents;

/// The file's name in the state folder.
const FILE: &str = "intents.json";

/// Why the last known intents cannot be kept or read.
#[derive(Debug, Error)]
pub enum LastKnownError {
    /// The disk refuses.
    #[error("{act} the last known intents in `{}`", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "read the last known intents in `{}`: the file is damaged; remove it to start from the store or from `initial_intent`",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
}

/// Keeps the intents. Waits for the disk.
pub fn save(state_folder: &Path, intents: &Intents) -> Result<(), LastKnownError> {
    let path = state_folder.join(FILE);
    let io_error = |source| LastKnownError::Io { act: "keep", path: path.clone(), source };
    fs::create_dir_all(state_folder).map_err(io_error)?;
    let text = serde_json::to_vec_pretty(intents).map_err(|error| io_error(error.into()))?;
    state::replace(&path, &text).map_err(io_error)
}

/// Reads the intents that were kept last; `None` when none ever were.
pub fn load(state_folder: &Path) -> Result<Option<Intents>, LastKnownError> {
    let path = state_folder.join(FILE);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LastKnownError::Io { act: "read", path, source }),
        Ok(bytes) => bytes,
    };
    match serde_json::from_slice(&bytes) {
        Ok(intents) => Ok(Some(intents)),
        Err(source) => Err(LastKnownError::Damaged { path, source }),
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
        let path = folder.path().join(FILE);
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
}
