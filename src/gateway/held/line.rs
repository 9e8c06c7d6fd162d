//! The line of a group's held queries: who is next, who stands where, who finds no room. Pure.
//!
//! A larger priority goes before a smaller one, whoever came first. Among equals users take turns, and
//! the queries of one user keep their order. A query gets its place when it comes and keeps it: of each
//! user one query belongs to each round, and a round is over before the next one begins. Who comes
//! while a round is under way belongs to a later one, so newcomers, however many, overtake nobody of
//! their priority who waits in this one. Each priority has rounds of its own: what a user has waiting
//! with one costs it no turn with another.
//!
//! A query that may go to further groups too stands in this line alone. Among those that may go to the
//! same further group the first goes there, whoever else waits before it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Hold;
use crate::ids::{GroupName, QueryId};
use crate::route::priority::Priority;
use crate::time::Instant;

/// Clients ask for the next page as soon as they have one. Who has not asked for this long is passed
/// over until it asks again.
const AWAY: Duration = Duration::from_secs(2);

/// A place in a line. The smaller comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    priority: Reverse<Priority>,
    round: u64,
    /// No two queries have the same.
    arrival: u64,
}

impl Place {
    /// Whether a newcomer of this priority goes before it.
    pub fn yields_to(&self, priority: Priority) -> bool {
        self.priority.0 < priority
    }
}

/// A query that waits.
#[derive(Debug, Clone)]
pub struct Waiter {
    /// Its id.
    pub id: QueryId,
    /// Whose it is.
    pub user: Arc<str>,
    /// To which further groups it may go.
    pub others: Vec<GroupName>,
    /// What it takes in memory.
    pub bytes: usize,
    /// When it came.
    pub since: Instant,
    /// When it has waited for too long.
    pub until: Instant,
    /// How many requests of its client wait here now.
    pub polls: u32,
    /// When its client was last here.
    pub seen: Instant,
    /// Until when others go first, because a cluster could not take it.
    pub rests: Option<Instant>,
}

/// Which bound is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// `hold.max_queries`.
    Queries,
    /// `hold.max_bytes`.
    Bytes,
    /// `hold.per_user`.
    User,
}

/// Where a query stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its place; the first has 1.
    pub position: usize,
    /// How many wait.
    pub of: usize,
    /// For how long it has waited.
    pub waited: Duration,
}

/// The line of one group.
#[derive(Debug, Default)]
pub struct Line {
    places: BTreeMap<Place, Waiter>,
    /// Of each priority with which somebody waits.
    turns: BTreeMap<Priority, Turns>,
    /// Who may go to each further group.
    further: HashMap<GroupName, BTreeSet<Place>>,
    bytes: usize,
}

/// How users take turns with queries of one priority.
#[derive(Debug, Default)]
struct Turns {
    users: HashMap<Arc<str>, User>,
    /// The round that is under way, once one of it was let through.
    served: Option<u64>,
}

#[derive(Debug, Default)]
struct User {
    waiting: usize,
    /// The round of its last query.
    last: u64,
}

impl Waiter {
    /// A query whose client has just brought it, for one group.
    pub fn new(
        id: QueryId,
        user: Arc<str>,
        bytes: usize,
        now: Instant,
        max_wait: Duration,
    ) -> Self {
        let until = now + max_wait;
        let others = Vec::new();
        Self { id, user, others, bytes, since: now, until, polls: 0, seen: now, rests: None }
    }

    /// Whether it can be let through at `now`.
    fn is_there(&self, now: Instant) -> bool {
        (self.polls > 0 || self.seen + AWAY > now) && self.rests.is_none_or(|until| until <= now)
    }

    /// Whether its client has not been here for `limit`.
    pub fn is_abandoned(&self, now: Instant, limit: Duration) -> bool {
        self.polls == 0 && self.seen + limit <= now
    }
}

impl Line {
    /// Gives `waiter` a place behind all of its priority, or says why there is none. `arrival` rises with
    /// each query, also of lines that are gone: one of those may still stand here again.
    pub fn join(
        &mut self,
        waiter: Waiter,
        priority: Priority,
        arrival: u64,
        bounds: &Hold,
    ) -> Result<Place, Full> {
        if self.places.len() >= bounds.max_queries {
            return Err(Full::Queries);
        }
        if self.bytes + waiter.bytes > bounds.max_bytes {
            return Err(Full::Bytes);
        }
        if self.waiting(&waiter.user) >= bounds.per_user {
            return Err(Full::User);
        }
        let round = self.turns.get(&priority).map_or(0, |turns| turns.next_of(&waiter.user));
        let place = Place { priority: Reverse(priority), round, arrival };
        self.put(place, waiter);
        Ok(place)
    }

    /// Takes a query out of the line, because it is let through, goes elsewhere or gives up.
    pub fn leave(&mut self, place: Place) -> Option<Waiter> {
        let waiter = self.places.remove(&place)?;
        self.bytes -= waiter.bytes;
        for other in &waiter.others {
            if let Some(places) = self.further.get_mut(other) {
                places.remove(&place);
            }
        }
        self.further.retain(|_, places| !places.is_empty());
        let Reverse(priority) = place.priority;
        if let Some(turns) = self.turns.get_mut(&priority) {
            turns.leave(&waiter.user);
            if turns.users.is_empty() {
                self.turns.remove(&priority);
            }
        }
        Some(waiter)
    }

    /// Takes out who is let through in its turn.
    pub fn let_through(&mut self, place: Place) -> Option<Waiter> {
        let waiter = self.leave(place)?;
        if let Some(turns) = self.turns.get_mut(&place.priority.0) {
            turns.served = turns.served.max(Some(place.round));
        }
        Some(waiter)
    }

    /// Gives back its place to who was let through and could not be taken.
    pub fn stand(&mut self, place: Place, waiter: Waiter) {
        let turns = self.turns.entry(place.priority.0).or_default();
        // Forgotten if nobody waited meanwhile: whoever comes now still belongs to a later round.
        turns.served = turns.served.max(Some(place.round));
        self.put(place, waiter);
    }

    /// Puts a query in its place: a new one, or one that went elsewhere before its turn and could not be
    /// taken.
    pub fn put(&mut self, place: Place, waiter: Waiter) {
        self.bytes += waiter.bytes;
        for other in &waiter.others {
            self.further.entry(other.clone()).or_default().insert(place);
        }
        let turns = self.turns.entry(place.priority.0).or_default();
        let user = turns.users.entry(waiter.user.clone()).or_default();
        user.waiting += 1;
        user.last = user.last.max(place.round);
        self.places.insert(place, waiter);
    }

    /// Who is next at `now`: the first whose client is there.
    pub fn next(&self, now: Instant) -> Option<(Place, &Waiter)> {
        let mut waiters = self.places.iter();
        waiters.find(|(_, waiter)| waiter.is_there(now)).map(|(place, waiter)| (*place, waiter))
    }

    /// The first that may go to `other` too and whose client is there at `now`.
    pub fn next_for(&self, other: &GroupName, now: Instant) -> Option<(Place, &Waiter)> {
        let places = self.further.get(other)?.iter();
        let mut waiters = places.filter_map(|place| Some((*place, self.places.get(place)?)));
        waiters.find(|(_, waiter)| waiter.is_there(now))
    }

    /// Who may go at `now`: who is next, and the first for each further group.
    pub fn firsts(&self, now: Instant) -> impl Iterator<Item = &Waiter> {
        let further = self.further.keys().filter_map(move |other| self.next_for(other, now));
        self.next(now).into_iter().chain(further).map(|(_, waiter)| waiter)
    }

    /// Whether nobody who is there at `now` goes before a newcomer of this priority.
    pub fn is_free_for(&self, priority: Priority, now: Instant) -> bool {
        self.next(now).is_none_or(|(first, _)| first.yields_to(priority))
    }

    /// Who stands at `place`.
    pub fn at(&mut self, place: Place) -> Option<&mut Waiter> {
        self.places.get_mut(&place)
    }

    /// Where `place` is at `now`.
    pub fn standing(&self, place: Place, now: Instant) -> Standing {
        let since = self.places.get(&place).map_or(now, |waiter| waiter.since);
        Standing {
            position: self.places.range(..place).count() + 1,
            of: self.places.len(),
            waited: now.saturating_duration_since(since),
        }
    }

    /// All who wait, the first in front.
    pub fn all(&self) -> impl Iterator<Item = (Place, &Waiter)> {
        self.places.iter().map(|(place, waiter)| (*place, waiter))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// What they take in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many queries of `user` wait, with whatever priority.
    fn waiting(&self, user: &str) -> usize {
        let of_user = self.turns.values().filter_map(|turns| turns.users.get(user));
        of_user.map(|user| user.waiting).sum()
    }
}

impl Turns {
    /// The round to which the next query of `user` belongs.
    fn next_of(&self, user: &str) -> u64 {
        let next = self.served.map_or(0, |round| round + 1);
        self.users.get(user).map_or(next, |user| next.max(user.last + 1))
    }

    /// A query of `user` waits no more.
    fn leave(&mut self, user: &str) {
        let Some(known) = self.users.get_mut(user) else { return };
        known.waiting -= 1;
        if known.waiting == 0 {
            self.users.remove(user);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ids::CoordinatorId;

    pub(in crate::gateway::held) const BOUNDS: Hold = Hold {
        max_wait: Duration::from_secs(300),
        max_queries: 1000,
        max_bytes: 1 << 20,
        per_user: 100,
    };

    /// A line, and the names by which its places are known: `a1` is the first query of the user `a`,
    /// `b2:50` one of the user `b` with the priority 50.
    struct Bed {
        line: Line,
        names: BTreeMap<Place, String>,
        now: Instant,
    }

    impl Bed {
        fn new() -> Self {
            let now = crate::time::now();
            Self { line: Line::default(), names: BTreeMap::new(), now }
        }

        fn join(&mut self, names: &str) {
            for name in names.split_whitespace() {
                let id = QueryId::of_held("20260101_000000", 1, CoordinatorId::drawn([0; 5]));
                let user: Arc<str> = name[..1].into();
                let waiter = Waiter::new(id, user, 10, self.now, BOUNDS.max_wait);
                let priority = name.split_once(':').map(|(_, number)| priority(number));
                let arrival = self.names.len() as u64;
                let place = self.line.join(waiter, priority.unwrap_or_default(), arrival, &BOUNDS);
                let place = place.expect("there is room");
                self.names.insert(place, name.to_owned());
            }
        }

        /// The client of each query of `user` is here.
        fn see(&mut self, user: &str) {
            for waiter in self.line.places.values_mut().filter(|waiter| *waiter.user == *user) {
                waiter.seen = self.now;
            }
        }

        fn place(&self, name: &str) -> Place {
            *self.names.iter().find(|(_, known)| *known == name).expect("it was named").0
        }

        /// Lets the next `count` through and tells who they were.
        fn serve(&mut self, count: usize) -> String {
            let mut served = Vec::new();
            for _ in 0..count {
                let Some((place, _)) = self.line.next(self.now) else { break };
                self.line.let_through(place);
                served.push(self.names[&place].clone());
            }
            served.join(" ")
        }
    }

    fn priority(number: &str) -> Priority {
        Priority::of(number.parse().expect("a number")).expect("from 1 to 100")
    }

    /// Who came like this stands and is served like that.
    fn check(came: &str, served: &str) {
        let mut bed = Bed::new();
        bed.join(came);
        let told: Vec<String> = served.split(' ').map(str::to_owned).collect();
        for (index, name) in told.iter().enumerate() {
            let standing = bed.line.standing(bed.place(name), bed.now);
            assert_eq!((standing.position, standing.of), (index + 1, told.len()), "{name}");
        }
        assert_eq!(bed.serve(told.len()), served);
        assert!(bed.line.is_empty() && bed.line.bytes() == 0 && bed.line.turns.is_empty());
    }

    #[test]
    fn users_take_turns_and_each_keeps_its_order() {
        check("a1 b1 c1", "a1 b1 c1");
        check("a1 a2 a3 b1 c1 b2", "a1 b1 c1 a2 b2 a3");
        check("a1 a2 a3 a4 b1", "a1 b1 a2 a3 a4");
    }

    #[test]
    fn larger_priorities_go_first_and_equals_take_turns() {
        check("a1:5 b1 c1:50", "c1:50 b1 a1:5");
        check("a1 b1:10 a2 c1", "a1 b1:10 c1 a2");
        // What waits with another priority costs no turn.
        check("a1 a2 b1:50 b2:50 c1:50 a3:50", "b1:50 c1:50 a3:50 b2:50 a1 a2");
        let mut bed = Bed::new();
        bed.join("a1 a2 b1");
        assert_eq!(bed.serve(1), "a1");
        bed.join("c1:50 d1");
        assert_eq!(bed.serve(4), "c1:50 b1 a2 d1", "the round under way stays what it was");
    }

    #[test]
    fn a_newcomer_goes_before_those_of_smaller_priority_alone() {
        let mut bed = Bed::new();
        assert!(bed.line.is_free_for(priority("1"), bed.now), "nobody waits");
        bed.join("a1 b1:50");
        for (number, free) in [("10", false), ("50", false), ("51", true)] {
            assert_eq!(bed.line.is_free_for(priority(number), bed.now), free, "{number}");
        }
        bed.now += AWAY;
        bed.see("a");
        assert!(bed.line.is_free_for(priority("11"), bed.now), "the larger one is away");
        assert_eq!(bed.serve(1), "a1", "it holds nobody up");
    }

    #[test]
    fn newcomers_overtake_nobody_of_the_round_under_way() {
        let mut bed = Bed::new();
        bed.join("a1 a2 a3 b1");
        assert_eq!(bed.serve(1), "a1");
        bed.join("c1 d1");
        assert_eq!(bed.serve(4), "b1 a2 c1 d1");
        bed.join("e1");
        assert_eq!(bed.serve(2), "a3 e1");
        // However many new users come, who waits is served: each of them comes once into each round.
        let mut bed = Bed::new();
        bed.join("a1 a2 a3");
        let mut served = String::new();
        for user in 'b'..='z' {
            served = served + &bed.serve(1) + " ";
            bed.join(&format!("{user}1"));
        }
        let at = |name: &str| served.split(' ').position(|one| one == name).expect("it was served");
        assert!(at("a2") <= 3 && at("a3") <= 6, "{served}");
    }

    #[test]
    fn who_is_away_is_passed_over_and_keeps_its_place() {
        let mut bed = Bed::new();
        bed.join("a1 b1 c1");
        let place = bed.place("b1");
        bed.line.at(place).expect("it waits").polls = 1;
        bed.now += AWAY;
        assert_eq!(bed.line.next(bed.now).map(|(place, _)| place), Some(place));
        let first = bed.place("a1");
        bed.line.at(first).expect("it waits").seen = bed.now;
        assert_eq!(bed.serve(3), "a1 b1", "the third is still away");
        let last = bed.line.all().next().expect("one is left").1;
        assert!(!last.is_abandoned(bed.now, BOUNDS.max_wait));
        assert!(last.is_abandoned(bed.now, AWAY));
    }

    #[test]
    fn who_could_not_be_taken_keeps_its_place_and_rests() {
        let mut bed = Bed::new();
        bed.join("a1 b1");
        let place = bed.place("a1");
        let mut waiter = bed.line.let_through(place).expect("it waits");
        waiter.rests = Some(bed.now + Duration::from_secs(1));
        bed.line.stand(place, waiter);
        assert_eq!(bed.line.standing(place, bed.now).position, 1);
        assert_eq!(bed.serve(2), "b1", "the first rests");
        bed.now += Duration::from_secs(1);
        assert_eq!(bed.serve(1), "a1");
        // Also if nobody else waited while it was away.
        bed.join("c1 c2");
        assert_eq!(bed.serve(1), "c1");
        let place = bed.place("c2");
        let waiter = bed.line.let_through(place).expect("it waits");
        bed.line.stand(place, waiter);
        bed.join("d1 d2");
        assert_eq!(bed.serve(3), "c2 d1 d2");
    }

    #[test]
    fn each_bound_is_told() {
        let mut bed = Bed::new();
        bed.join("a1 a2:50 b1");
        let now = bed.now;
        let mut come = |user: &str, bytes: usize, bounds: Hold| {
            let id = QueryId::of_held("20260101_000000", 1, CoordinatorId::drawn([0; 5]));
            let waiter = Waiter::new(id, user.into(), bytes, now, bounds.max_wait);
            bed.line.join(waiter, Priority::default(), 9, &bounds).err()
        };
        assert_eq!(come("c", 10, Hold { max_queries: 3, ..BOUNDS }), Some(Full::Queries));
        assert_eq!(come("c", 10, Hold { max_bytes: 39, ..BOUNDS }), Some(Full::Bytes));
        assert_eq!(come("a", 10, Hold { per_user: 2, ..BOUNDS }), Some(Full::User));
        assert_eq!(come("b", 10, Hold { per_user: 2, ..BOUNDS }), None);
    }

    proptest::proptest! {
        #[test]
        fn nobody_is_lost_and_no_user_is_ahead_by_more_than_its_turn(
            steps in proptest::collection::vec(0u8..6, 1..60)
        ) {
            let mut bed = Bed::new();
            let mut came = HashMap::new();
            let mut waiting = 0;
            for step in steps {
                if step == 5 {
                    waiting -= usize::from(!bed.serve(1).is_empty());
                } else {
                    let user = char::from(b'a' + step);
                    let count = came.entry(user).or_insert(0);
                    *count += 1;
                    bed.join(&format!("{user}{count}"));
                    waiting += 1;
                }
                proptest::prop_assert_eq!(bed.line.len(), waiting);
            }
            let rest = bed.serve(waiting);
            proptest::prop_assert_eq!(rest.split_whitespace().count(), waiting);
            // Between two queries of one user, each other one has at most two.
            let order: Vec<char> = rest.split_whitespace().filter_map(|name| name.chars().next()).collect();
            for user in 'a'..='e' {
                let turns: Vec<usize> = (0..order.len()).filter(|at| order[*at] == user).collect();
                for pair in turns.windows(2) {
                    for other in ('a'..='e').filter(|other| *other != user) {
                        let between = order[pair[0]..pair[1]].iter().filter(|one| **one == other);
                        proptest::prop_assert!(between.count() <= 2);
                    }
                }
            }
        }

        #[test]
        fn nobody_who_is_there_waits_behind_a_smaller_priority(
            steps in proptest::collection::vec((0u8..7, 1usize..4), 1..80)
        ) {
            // The line of all, and for each priority one of its queries alone: equals go as if there
            // were no others.
            let mut beds = [(); 4].map(|()| Bed::new());
            for (count, (step, number)) in steps.into_iter().enumerate() {
                match step {
                    4 => beds.iter_mut().for_each(|bed| bed.now += AWAY),
                    5 => beds.iter_mut().for_each(|bed| bed.see("a")),
                    6 => {
                        let waiters = beds[0].line.all();
                        let there = waiters.filter(|(_, waiter)| waiter.is_there(beds[0].now));
                        let largest = there.map(|(place, _)| place.priority.0).max();
                        let equals = largest.map_or(number, |largest| largest.number().into());
                        let served = beds[0].serve(1);
                        proptest::prop_assert_eq!(served.is_empty(), largest.is_none());
                        proptest::prop_assert_eq!(served, beds[equals].serve(1));
                    }
                    user => {
                        let name = format!("{}{count}:{number}", char::from(b'a' + user));
                        beds[0].join(&name);
                        beds[number].join(&name);
                    }
                }
            }
        }
    }
}
