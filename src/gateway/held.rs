//! Queries that are held: no cluster could take them, their clients see them QUEUED, and each is let
//! through in its turn (`line`), when its client asks and a cluster can take it.
//!
//! Statements and headers are in memory alone, within the bounds of each group, and go with the
//! process. What became of a query is remembered for a while, so that its id stays good for pages,
//! cancels and questions. Nobody is let through without its client: a query whose client is away
//! keeps its place and holds nobody up. Nor does one hold up another that may go to a further group.

mod books;
pub mod line;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pingora::http::ResponseHeader;
use tokio::sync::watch;
use tracing::info;

use crate::cluster::Reservation;
use crate::cluster::live::LiveQuery;
use crate::cluster::wish::Open;
use crate::config::Hold;
use crate::gateway::equal_secrets;
use crate::gateway::kept::Order;
use crate::ids::{CoordinatorId, GroupName, QueryId};
use crate::telemetry::metrics::Metrics;
use crate::time;
use books::{Books, Entry, State};
pub use books::{End, Over};
use line::{Full, Place, Standing, Waiter};

/// After a cluster failed to take a query, others go first for this long.
const REST: Duration = Duration::from_secs(1);

/// The queries that this process holds, or held.
#[derive(Debug)]
pub struct Held {
    mark: CoordinatorId,
    index: AtomicU64,
    books: Mutex<Books>,
    metrics: Arc<Metrics>,
}

/// What a new query meets.
#[derive(Debug)]
pub enum Joined {
    /// A cluster takes it, for which nobody waits before it.
    Free(Reservation),
    /// It is held.
    Held(Ticket),
    /// It finds no room.
    Full(Full),
}

/// What the client of a held query is told.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// Its id.
    pub id: QueryId,
    /// The secret part of the path of its pages.
    pub slug: String,
    /// Its group.
    pub group: GroupName,
    /// Where it stands.
    pub standing: Standing,
}

/// What a request about a query meets.
#[derive(Debug)]
pub enum Turn<'a> {
    /// It waits.
    Wait {
        /// Where.
        ticket: Ticket,
        /// Where it may go now.
        open: Open,
    },
    /// It is let through to a cluster.
    Go(Going<'a>),
    /// Another request of its client has it let through.
    Going,
    /// It is over.
    Over(Over),
    /// There is no such query.
    Unknown,
}

impl Held {
    /// Holds nothing yet, under a mark that it draws.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let mark = CoordinatorId::drawn(rand::random());
        Self { mark, index: AtomicU64::new(0), books: Mutex::default(), metrics }
    }

    /// The mark in the ids that it gives.
    pub fn mark(&self) -> CoordinatorId {
        self.mark
    }

    /// A new query of `user`: `choose` takes a place at a cluster of the groups for which nobody waits
    /// before it, if there is one. Else it is held within `bounds`.
    pub fn join(
        &self,
        order: &Arc<Order>,
        user: &str,
        bounds: &Hold,
        choose: impl FnOnce(&Open) -> Option<Reservation>,
    ) -> Joined {
        let now = time::now();
        let mut books = self.books();
        let open = books.open_to(order, None, now);
        if !open.is_none()
            && let Some(reservation) = choose(&open)
        {
            return Joined::Free(reservation);
        }
        let index = self.index.fetch_add(1, Ordering::Relaxed);
        let id = QueryId::of_held(&time::query_id_time(time::unix_ms()), index, self.mark);
        let waiter = Waiter::new(id.clone(), user.into(), order.size(), now, bounds.max_wait);
        let waiter = Waiter { others: order.wish.others.clone(), ..waiter };
        let line = books.lines.entry(order.wish.group.clone()).or_default();
        let place = match line.join(waiter, order.priority, index, bounds) {
            Ok(place) => place,
            Err(full) => return Joined::Full(full),
        };
        let slug = format!("y{:032x}", rand::random::<u128>());
        let standing = line.standing(place, now);
        let group = order.wish.group.clone();
        let state = State::Waiting(place, order.clone());
        let changed = watch::Sender::new(());
        let entry = Entry { slug: slug.clone(), group: group.clone(), state, changed };
        books.queries.insert(id.clone(), entry);
        Joined::Held(Ticket { id, slug, group, standing })
    }

    /// A request of the client that knows the slug is here, for as long as what it gets lives.
    pub fn attend(&self, id: &QueryId, slug: &str) -> Option<Attendance<'_>> {
        let mut books = self.books();
        let entry = books
            .queries
            .get(id)
            .filter(|entry| equal_secrets(entry.slug.as_bytes(), slug.as_bytes()))?;
        let changed = entry.changed.subscribe();
        if let Some(waiter) = books.waiter(id) {
            waiter.polls += 1;
        }
        Some(Attendance { held: self, id: id.clone(), changed })
    }

    /// Where a query is, whoever asks.
    pub fn look(&self, id: &QueryId) -> Turn<'_> {
        self.books().turn(id, time::now())
    }

    /// Ends a query that waits, for who knows its slug, or says that its user asks. `None`: neither.
    pub fn cancel(&self, id: &QueryId, who: Who<'_>) -> Option<Turn<'_>> {
        let mut books = self.books();
        let entry = books.queries.get(id)?;
        let right = match (who, &entry.state) {
            (Who::Slug(slug), _) => equal_secrets(entry.slug.as_bytes(), slug.as_bytes()),
            (Who::User(user), State::Waiting(..)) => {
                books.waiter(id).is_some_and(|waiter| *waiter.user == *user)
            }
            // The cluster that has it decides.
            (Who::User(_), State::Going | State::Over(_)) => true,
        };
        if !right {
            return None;
        }
        if let State::Waiting(place, order) = &books.queries.get(id)?.state {
            let (place, group) = (*place, order.wish.group.clone());
            self.end(&mut books, (id, &group, place), End::Cancelled);
        }
        Some(books.turn(id, time::now()))
    }

    /// Ends what waited for too long or whose client is gone for `client`, and forgets the oldest that
    /// are over.
    pub fn sweep(&self, client: Duration) {
        let now = time::now();
        let mut books = self.books();
        let mut ends = Vec::new();
        for (group, line) in &books.lines {
            for (place, waiter) in line.all() {
                let end = match () {
                    () if waiter.is_abandoned(now, client) => End::Abandoned,
                    () if waiter.until <= now => {
                        End::Waited(group.clone(), waiter.until - waiter.since)
                    }
                    () => continue,
                };
                ends.push((waiter.id.clone(), group.clone(), place, end));
            }
        }
        for (id, group, place, end) in ends {
            self.end(&mut books, (&id, &group, place), end);
        }
        let groups: Vec<_> = books.lines.keys().cloned().collect();
        groups.iter().for_each(|group| books.wake_next(group, now));
        books.forget(now);
    }

    /// How many each group holds, and what they take in memory.
    pub fn figures(&self) -> Vec<(GroupName, usize, usize)> {
        let books = self.books();
        let lines = books.lines.iter();
        lines.map(|(group, line)| (group.clone(), line.len(), line.bytes())).collect()
    }

    fn end(&self, books: &mut Books, (id, group, place): (&QueryId, &GroupName, Place), end: End) {
        let now = time::now();
        if let Some(line) = books.lines.get_mut(group) {
            line.leave(place);
        }
        let label = end.as_str();
        info!(query_id = %id, group = %group, end = label, "a held query ended");
        self.metrics.held_end(group.as_str(), label);
        books.set_over(id, Over::Ended(end), now);
        books.wake_next(group, now);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who wants a query to end.
#[derive(Debug, Clone, Copy)]
pub enum Who<'a> {
    /// Who knows this slug.
    Slug(&'a str),
    /// This user, by the bare id.
    User(&'a str),
}

/// A request of a held query's client, while it waits here.
#[derive(Debug)]
pub struct Attendance<'a> {
    held: &'a Held,
    id: QueryId,
    changed: watch::Receiver<()>,
}

impl<'a> Attendance<'a> {
    /// What it meets now. If `choose` takes a place at a cluster where it may go, it goes there.
    pub fn turn(&self, choose: impl FnOnce(&Order, &Open) -> Option<Reservation>) -> Turn<'a> {
        let now = time::now();
        let mut books = self.held.books();
        let turn = books.turn(&self.id, now);
        let Turn::Wait { open, .. } = &turn else { return turn };
        let (open, in_turn) = (open.clone(), *open == Open::All);
        let Some(Entry { state: State::Waiting(place, order), group, .. }) =
            books.queries.get(&self.id)
        else {
            return turn;
        };
        let (place, order, group) = (*place, order.clone(), group.clone());
        let late = books.waiter(&self.id).filter(|waiter| waiter.until <= now);
        if let Some(waited) = late.map(|waiter| waiter.until - waiter.since) {
            let end = End::Waited(group.clone(), waited);
            self.held.end(&mut books, (&self.id, &group, place), end);
            return books.turn(&self.id, now);
        }
        if open.is_none() {
            return turn;
        }
        let Some(reservation) = choose(&order, &open) else { return turn };
        let waiter = books.lines.get_mut(&group).and_then(|line| match in_turn {
            true => line.let_through(place),
            // The round that is under way goes on.
            false => line.leave(place),
        });
        let (Some(waiter), Some(entry)) = (waiter, books.queries.get_mut(&self.id)) else {
            return Turn::Unknown;
        };
        entry.state = State::Going;
        books.wake_next(&group, now);
        let stake = Some((place, waiter));
        Turn::Go(Going { held: self.held, order, reservation: Some(reservation), stake, in_turn })
    }

    /// Waits until something may have changed for it.
    pub async fn changed(&mut self) {
        // The sender lives as long as the query is known.
        let _changed = self.changed.changed().await;
    }
}

impl Drop for Attendance<'_> {
    fn drop(&mut self) {
        let mut books = self.held.books();
        if let Some(waiter) = books.waiter(&self.id) {
            waiter.polls = waiter.polls.saturating_sub(1);
            waiter.seen = time::now();
        }
    }
}

/// A query that was let through. Dropped without an answer, it stands in its place again.
#[derive(Debug)]
pub struct Going<'a> {
    held: &'a Held,
    /// The statement.
    pub order: Arc<Order>,
    /// The place that it has at a cluster, until that is taken from here.
    pub reservation: Option<Reservation>,
    stake: Option<(Place, Waiter)>,
    in_turn: bool,
}

impl Going<'_> {
    /// A cluster answered.
    pub fn answered(mut self, header: ResponseHeader, body: Bytes, query: Option<Arc<LiveQuery>>) {
        let Some((_, waiter)) = self.stake.take() else { return };
        let now = time::now();
        let waited = now.saturating_duration_since(waiter.since);
        let group = self.order.wish.group.as_str();
        let new_query_id = query.as_ref().map_or("", |query| query.id().as_str());
        info!(query_id = %waiter.id, new_query_id, group, ?waited, "a held query was let through");
        self.held.metrics.held_end(group, if query.is_some() { "handed_over" } else { "refused" });
        self.held.metrics.held_for(group, waited);
        let over = Over::Answered { header: Box::new(header), body, query };
        self.held.books().set_over(&waiter.id, over, now);
    }

    /// The cluster failed: others go first for a while.
    pub fn failed(mut self) {
        if let Some((_, waiter)) = &mut self.stake {
            waiter.rests = Some(time::now() + REST);
        }
    }
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        let Some((place, mut waiter)) = self.stake.take() else { return };
        let mut books = self.held.books();
        let id = waiter.id.clone();
        // Those that wait now came before it was let through, and count again.
        waiter.seen = time::now();
        let books = &mut *books;
        let Some(entry) = books.queries.get_mut(&id) else { return };
        waiter.polls = u32::try_from(entry.changed.receiver_count()).unwrap_or(u32::MAX);
        entry.state = State::Waiting(place, self.order.clone());
        entry.changed.send_replace(());
        let line = books.lines.entry(entry.group.clone()).or_default();
        match self.in_turn {
            true => line.stand(place, waiter),
            false => line.put(place, waiter),
        }
        let group = entry.group.clone();
        books.wake_next(&group, time::now());
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::line::tests::BOUNDS;
    use super::*;
    use crate::cluster::registry::Fleet;
    use crate::cluster::wish::Wish;
    use crate::gateway::wish::tests::fleet;
    use crate::ids::ClusterName;
    use crate::route::priority::Priority;

    struct Bed {
        held: Held,
        fleet: Arc<Fleet>,
    }

    impl Bed {
        fn new() -> Self {
            Self { held: Held::new(Arc::new(Metrics::default())), fleet: fleet() }
        }

        /// Takes a place in the group `room`, the only one with any, if that is open.
        fn choose(&self, wish: &Wish, open: &Open, room: &str) -> Option<Reservation> {
            let groups = match open {
                Open::All => [slice::from_ref(&wish.group), wish.others.as_slice()].concat(),
                Open::Others(others) => others.clone(),
            };
            let group = groups.iter().find(|group| group.as_str() == room)?;
            let cluster = ClusterName::parse(&format!("{group}-blue")).expect("a good name");
            Some(Reservation::new(self.fleet.cluster(&cluster).expect("it is there").clone()))
        }

        fn join(&self, user: &str, groups: &str, priority: i64, room: &str) -> Joined {
            let order = order(groups, priority);
            self.held.join(&order, user, &BOUNDS, |open| self.choose(&order.wish, open, room))
        }

        /// A query that comes while there is no room.
        fn held(&self, user: &str, groups: &str) -> Ticket {
            match self.join(user, groups, 10, "nowhere") {
                Joined::Held(ticket) => ticket,
                other => panic!("it is not held: {other:?}"),
            }
        }

        fn attend(&self, ticket: &Ticket) -> Attendance<'_> {
            self.held.attend(&ticket.id, &ticket.slug).expect("it is known")
        }

        fn turn(&self, ticket: &Ticket, room: &str) -> Turn<'_> {
            let attendance = self.attend(ticket);
            attendance.turn(|order, open| self.choose(&order.wish, open, room))
        }

        /// Whether it goes to a cluster, which takes it.
        fn goes(&self, ticket: &Ticket, room: &str) -> bool {
            let Turn::Go(going) = self.turn(ticket, room) else { return false };
            let header = ResponseHeader::build(200, None).expect("a head");
            going.answered(header, Bytes::new(), None);
            true
        }
    }

    fn order(groups: &str, priority: i64) -> Arc<Order> {
        let names = groups.split(' ').map(GroupName::parse);
        let mut names = names.map(|name| name.expect("a good name"));
        let group = names.next().expect("a group");
        let wish = Wish { group, others: names.collect(), cluster: None };
        let priority = Priority::of(priority).expect("from 1 to 100");
        Arc::new(Order { priority, ..Order::bare("SELECT 1".into(), wish) })
    }

    #[test]
    fn one_that_may_go_elsewhere_is_held_up_by_nobody_who_may_not() {
        let bed = Bed::new();
        let ann = bed.held("ann", "bi");
        assert!(matches!(bed.join("bob", "bi olap", 1, "olap"), Joined::Free(_)), "a newcomer");
        assert!(matches!(bed.join("cat", "bi", 10, "bi"), Joined::Held(_)), "ann is first");
        let [first, second] = ["dan", "eve"].map(|user| bed.held(user, "bi olap"));
        let newcomer = bed.join("fay", "bi olap", 10, "olap");
        assert!(matches!(newcomer, Joined::Held(_)), "both go before it");
        assert!(!bed.goes(&second, "olap"), "the first of them goes first");
        assert!(!bed.goes(&first, "bi"), "there others wait before it");
        let waits = bed.attend(&second);
        assert!(bed.goes(&first, "olap"));
        assert!(waits.changed.has_changed().expect("it is known"), "the next of them is woken");
        assert!(bed.goes(&second, "olap") && !bed.goes(&ann, "olap"));
        assert!(bed.goes(&ann, "bi"));
    }

    #[test]
    fn nobody_overtakes_who_waits_in_the_line_of_a_further_group() {
        let bed = Bed::new();
        assert!(matches!(bed.join("ann", "bi", 50, "nowhere"), Joined::Held(_)));
        let there = bed.held("bob", "olap");
        let Joined::Held(both) = bed.join("cat", "bi olap", 10, "olap") else {
            panic!("a newcomer overtook one");
        };
        assert!(!bed.goes(&both, "olap"), "nor one that waits");
        let larger = bed.join("dan", "bi olap", 11, "olap");
        assert!(matches!(larger, Joined::Free(_)), "but one of a larger priority does");
        assert!(bed.goes(&there, "olap") && bed.goes(&both, "olap"));
    }

    #[test]
    fn one_whose_line_was_forgotten_takes_nobodys_place() {
        let bed = Bed::new();
        let ann = bed.held("ann", "bi");
        let Turn::Go(going) = bed.turn(&ann, "bi") else { panic!("nobody is before it") };
        bed.held.sweep(Duration::from_secs(300));
        let bob = bed.held("bob", "bi");
        going.failed();
        let waits = |ticket: &Ticket| matches!(bed.turn(ticket, "nowhere"), Turn::Wait { .. });
        assert!(waits(&ann) && waits(&bob));
        assert!(!bed.goes(&ann, "bi"), "it rests");
        let Turn::Go(going) = bed.turn(&bob, "bi") else { panic!("it is next") };
        assert_eq!(going.stake.as_ref().map(|(_, waiter)| &waiter.id), Some(&bob.id));
    }

    #[test]
    fn one_that_no_cluster_took_elsewhere_rests_and_has_cost_nobody_a_turn() {
        let bed = Bed::new();
        let [_, _, last] = ["bi", "bi", "bi olap"].map(|groups| bed.held("ann", groups));
        let Turn::Go(going) = bed.turn(&last, "olap") else { panic!("it may go there") };
        going.failed();
        assert!(!bed.goes(&last, "olap"), "it rests");
        let Standing { position, of, .. } = bed.held("bob", "bi").standing;
        assert_eq!((position, of), (2, 4), "of the first round");
    }
}
