//! What is held and what was: the lines of the groups, and each query with what became of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pingora::http::ResponseHeader;
use tokio::sync::watch;

use super::line::{Line, Place, Waiter};
use super::{Ticket, Turn};
use crate::cluster::live::LiveQuery;
use crate::cluster::wish::{Open, Wish};
use crate::gateway::kept::Order;
use crate::ids::{GroupName, QueryId};
use crate::time::Instant;

/// How long it is remembered what became of a query, at least: as exact routes are.
const MEMORY: Duration = Duration::from_secs(15 * 60);

/// Of how many it is remembered. About 2 KiB each.
const MEMORY_MAX: usize = 50_000;

#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) lines: HashMap<GroupName, Line>,
    pub(super) queries: HashMap<QueryId, Entry>,
    /// Those that are over, the first to be forgotten in front.
    pub(super) over: VecDeque<(Instant, QueryId)>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) slug: String,
    pub(super) group: GroupName,
    pub(super) state: State,
    /// Wakes the requests that wait for it.
    pub(super) changed: watch::Sender<()>,
}

#[derive(Debug)]
pub(super) enum State {
    /// It stands in the line.
    Waiting(Place, Arc<Order>),
    /// It was let through, and no cluster has answered yet.
    Going,
    /// It is held no more.
    Over(Over),
}

/// What became of a query.
#[derive(Debug, Clone)]
pub enum Over {
    /// A cluster answered, and that is what its client hears, however often it asks.
    Answered {
        /// The head.
        header: Box<ResponseHeader>,
        /// The body.
        body: Bytes,
        /// The query that it became, if it became one.
        query: Option<Arc<LiveQuery>>,
    },
    /// No cluster ever saw it.
    Ended(End),
}

/// Why a query ended that no cluster ever saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Its client cancelled it.
    Cancelled,
    /// It waited for `hold.max_wait`, in the line of that group.
    Waited(GroupName, Duration),
    /// Its client did not ask for it any more.
    Abandoned,
}

impl End {
    /// The label in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Waited(..) => "waited_too_long",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Entry {
    /// Whether a cluster has it, and it has not ended there.
    fn lives_on(&self) -> bool {
        let State::Over(Over::Answered { query: Some(query), .. }) = &self.state else {
            return false;
        };
        !query.is_over()
    }
}

impl Books {
    pub(super) fn waiter(&mut self, id: &QueryId) -> Option<&mut Waiter> {
        let State::Waiting(place, order) = &self.queries.get(id)?.state else { return None };
        self.lines.get_mut(&order.wish.group)?.at(*place)
    }

    pub(super) fn turn(&self, id: &QueryId, now: Instant) -> Turn<'static> {
        let Some(entry) = self.queries.get(id) else { return Turn::Unknown };
        match &entry.state {
            State::Waiting(place, order) => {
                let Some(line) = self.lines.get(&entry.group) else { return Turn::Unknown };
                let ticket = Ticket {
                    id: id.clone(),
                    slug: entry.slug.clone(),
                    group: entry.group.clone(),
                    standing: line.standing(*place, now),
                };
                Turn::Wait { ticket, open: self.open_to(order, Some(*place), now) }
            }
            State::Going => Turn::Going,
            State::Over(over) => Turn::Over(over.clone()),
        }
    }

    /// Where a query, which stands at `place` or is a newcomer, may go at `now` and overtakes nobody: a
    /// further group is open to the first that may go there, while none of larger or the same priority
    /// waits in the line of that group.
    pub(super) fn open_to(&self, order: &Order, place: Option<Place>, now: Instant) -> Open {
        let Wish { group, others, .. } = &order.wish;
        let line = self.lines.get(group);
        let goes_before = |first: Option<Place>| match place {
            Some(_) => first == place,
            None => first.is_none_or(|first| first.yields_to(order.priority)),
        };
        if goes_before(line.and_then(|line| line.next(now)).map(|(first, _)| first)) {
            return Open::All;
        }
        let is_open = |other: &&GroupName| {
            let theirs = self.lines.get(*other);
            let first = line.and_then(|line| line.next_for(other, now)).map(|(first, _)| first);
            goes_before(first) && theirs.is_none_or(|line| line.is_free_for(order.priority, now))
        };
        Open::Others(others.iter().filter(is_open).cloned().collect())
    }

    pub(super) fn set_over(&mut self, id: &QueryId, over: Over, now: Instant) {
        let Some(entry) = self.queries.get_mut(id) else { return };
        entry.state = State::Over(over);
        entry.changed.send_replace(());
        self.over.push_back((now + MEMORY, id.clone()));
    }

    /// Wakes the requests of who is next, in the line and for further groups, and of who may go to this
    /// one from other lines.
    pub(super) fn wake_next(&self, group: &GroupName, now: Instant) {
        let firsts = self.lines.get(group).into_iter().flat_map(|line| line.firsts(now));
        let others = self.lines.values().filter_map(|line| line.next_for(group, now));
        let waiters = firsts.chain(others.map(|(_, waiter)| waiter));
        for entry in waiters.filter_map(|waiter| self.queries.get(&waiter.id)) {
            entry.changed.send_replace(());
        }
    }

    /// Forgets what is over for long, but for what lives on at a cluster.
    pub(super) fn forget(&mut self, now: Instant) {
        while self.over.len() > MEMORY_MAX {
            let oldest = self.over.pop_front();
            oldest.and_then(|(_, id)| self.queries.remove(&id));
        }
        while let Some((_, id)) = self.over.pop_front_if(|(until, _)| *until <= now) {
            if self.queries.get(&id).is_some_and(Entry::lives_on) {
                self.over.push_back((now + MEMORY, id));
            } else {
                self.queries.remove(&id);
            }
        }
        self.lines.retain(|_, line| !line.is_empty());
    }
}
