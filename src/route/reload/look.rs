//! The watch of the rules file: reloads it when its content changed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::error;

use super::{RuleBook, Seen, Wanted};
use crate::route::texts::Texts;

/// How often the file is looked at. With [`SETTLE`], a change is in force well within a second.
const PERIOD: Duration = Duration::from_millis(250);
/// A changed file is read again after this time: a writer that is not done yet is left to finish.
const SETTLE: Duration = Duration::from_millis(50);

impl RuleBook {
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
        let Some((file, known)) = self.watched() else { return };
        let Some(found) = look_at(file.clone()).await else { return };
        if found == known {
            return;
        }
        sleep(SETTLE).await;
        if look_at(file).await.as_ref() != Some(&found) {
            return;
        }
        let book = Arc::clone(self);
        let reloaded = tokio::task::spawn_blocking(move || book.reload_as_known(&found));
        if let Err(error) = reloaded.await {
            error!(%error, "the reload of the rules broke off, the old rules stay in force");
        }
    }

    /// The file, if it counts, and what was seen of it.
    fn watched(&self) -> Option<(PathBuf, Seen)> {
        let inputs = self.inputs();
        let counts = matches!(inputs.wanted, Wanted::File);
        counts.then(|| (inputs.settings.file.clone(), inputs.seen.clone()))
    }
}

async fn look_at(file: PathBuf) -> Option<Seen> {
    tokio::task::spawn_blocking(move || Seen::of(&Texts::read(&file))).await.ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::config::Rules;
    use crate::route::rules::hash;
    use crate::route::tests::{groups, settings};

    const BI: &str = "function route() return 'bi' end";
    const OLAP: &str = "function route() return 'olap' end";

    /// Waits until this thread of ours waits for something.
    fn until_it_waits(thread: &Path) {
        let state = || {
            let stat = fs::read_to_string(Path::new("/proc").join(thread).join("stat")).unwrap();
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
        };
        while state() != Some('S') {
            std::thread::yield_now();
        }
    }

    /// A map of settings and rules is swapped at once: the watch waits while the settings are reloaded.
    #[test]
    fn a_changed_file_is_reloaded_under_the_settings_of_that_moment() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Rules { file: folder.path().join("route.lua"), ..settings() };
        fs::write(&settings.file, BI).unwrap();
        let book = RuleBook::start(&settings, &groups()[..1]).unwrap();
        let turn = book.turn();
        fs::write(&settings.file, OLAP).unwrap();
        let (say, hear) = std::sync::mpsc::channel();
        let found = Seen::of(&Texts::read(&settings.file));
        let watching = Arc::clone(&book);
        let reload = std::thread::spawn(move || {
            say.send(fs::read_link("/proc/thread-self").unwrap()).unwrap();
            watching.reload_as_known(&found)
        });
        until_it_waits(&hear.recv().unwrap());
        book.inputs().groups = groups();
        drop(turn);
        assert!(reload.join().unwrap().unwrap());
        assert_eq!(book.inputs().groups, groups());
        assert_eq!(book.status().last_error, None);
        assert_eq!(book.current().version().hash, hash(OLAP, &[]));
    }
}
