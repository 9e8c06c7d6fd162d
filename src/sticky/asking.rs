//! Rounds of asking for the owner of a query that are under way, so that the same requests share
//! one; and what nobody has, as was found out a moment ago.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::time::Instant;

/// How long it is remembered that nobody knows a query.
const NOBODY_FOR: Duration = Duration::from_secs(5);

/// How many such queries are remembered.
const NOBODY_MAX: usize = 10_000;

/// What a round of asking showed.
#[derive(Debug, Clone)]
pub enum Round {
    /// This cluster has it.
    Owner(Arc<Cluster>),
    /// All were asked and none has it; one said it with this status.
    Nobody(u16),
    /// All were asked, and their answer does not tell: a cancel, which every cluster takes.
    Taken,
    /// Some could not be asked.
    Incomplete,
}

/// Rounds that are under way, and queries that nobody has.
#[derive(Debug, Default)]
pub struct Asking {
    books: Mutex<Books>,
}

/// What is asked. The answer to one page or act says nothing of another of the same query.
pub type Asked = (Method, String);

#[derive(Debug, Default)]
struct Books {
    rounds: HashMap<Asked, watch::Receiver<Option<Round>>>,
    nobody: HashMap<Asked, (Instant, u16)>,
}

/// How a request takes part in a round.
pub enum Joined {
    /// Nobody has it, as was found out a moment ago.
    Known(u16),
    /// The caller asks, and tells the others.
    First(watch::Sender<Option<Round>>),
    /// Somebody asks.
    Running(watch::Receiver<Option<Round>>),
}

impl Asking {
    /// Takes part in the round about `asked`, or begins it.
    pub fn join(&self, asked: &Asked, now: Instant) -> Joined {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, status)) = books.nobody.get(asked)
            && *until > now
        {
            return Joined::Known(*status);
        }
        if let Some(running) = books.rounds.get(asked)
            && running.has_changed().is_ok()
        {
            return Joined::Running(running.clone());
        }
        let (telling, running) = watch::channel(None);
        books.rounds.insert(asked.clone(), running);
        Joined::First(telling)
    }

    /// A round is over.
    pub fn finish(&self, asked: &Asked, round: &Round, now: Instant) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.rounds.remove(asked);
        let Round::Nobody(status) = round else { return };
        if books.nobody.len() >= NOBODY_MAX {
            books.nobody.retain(|_, (until, _)| *until > now);
        }
        if books.nobody.len() < NOBODY_MAX {
            books.nobody.insert(asked.clone(), (now + NOBODY_FOR, *status));
        }
    }

    /// Whoever asked went away in the middle.
    pub fn forget(&self, asked: &Asked) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        if books.rounds.get(asked).is_some_and(|running| running.has_changed().is_err()) {
            books.rounds.remove(asked);
        }
    }
}
