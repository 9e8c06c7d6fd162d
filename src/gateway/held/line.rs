//! The line of a group's held queries: who is next, who stands where, who finds no room. Pure.
//!
//! Users take turns, and the queries of one user keep their order. A query gets its place when it
//! comes and keeps it: of each user one query belongs to each round, and a round is over before the
//! next one begins. Who comes while a round is under way belongs to a later one, so newcomers, however
//! many, overtake nobody who waits in this one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Hold;
use crate::ids::QueryId;
use crate::time::Instant;

/// Clients ask for the next page as soon as they have one. Who has not asked for this long is passed
/// over until it asks again.
const AWAY: Duration = Duration::from_secs(2);

/// A place in a line. The smaller comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    round: u64,
    arrival: u64,
}

/// A query that waits.
#[derive(Debug, Clone)]
pub struct Waiter {
    /// Its id.
    pub id: QueryId,
    /// Whose it is.
    pub user: Arc<str>,
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
    users: HashMap<Arc<str>, User>,
    bytes: usize,
    /// The round that is under way, once one of it was let through.
    served: Option<u64>,
    arrivals: u64,
}

#[derive(Debug)]
struct User {
    waiting: usize,
    /// The round of its last query.
    last: u64,
}

impl Waiter {
    /// A query whose client has just brought it.
    pub fn new(
        id: QueryId,
        user: Arc<str>,
        bytes: usize,
        now: Instant,
        max_wait: Duration,
    ) -> Self {
        let until = now + max_wait;
        Self { id, user, bytes, since: now, until, polls: 0, seen: now, rests: None }
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
    /// Gives `waiter` a place at the end, or says why there is none.
    pub fn join(&mut self, waiter: Waiter, bounds: &Hold) -> Result<Place, Full> {
        let known = self.users.get(&waiter.user);
        if self.places.len() >= bounds.max_queries {
            return Err(Full::Queries);
        }
        if self.bytes + waiter.bytes > bounds.max_bytes {
            return Err(Full::Bytes);
        }
        if known.is_some_and(|user| user.waiting >= bounds.per_user) {
            return Err(Full::User);
        }
        let next = self.served.map_or(0, |round| round + 1);
        let round = known.map_or(next, |user| next.max(user.last + 1));
        self.arrivals += 1;
        let place = Place { round, arrival: self.arrivals };
        self.stand(place, waiter);
        Ok(place)
    }

    /// Takes a query out of the line, because it is let through or gives up.
    pub fn leave(&mut self, place: Place) -> Option<Waiter> {
        let waiter = self.places.remove(&place)?;
        self.bytes -= waiter.bytes;
        if let Some(user) = self.users.get_mut(&waiter.user) {
            user.waiting -= 1;
            if user.waiting == 0 {
                self.users.remove(&waiter.user);
            }
        }
        if self.places.is_empty() {
            self.served = None;
        }
        Some(waiter)
    }

    /// Takes out who is let through.
    pub fn let_through(&mut self, place: Place) -> Option<Waiter> {
        let waiter = self.leave(place)?;
        if !self.places.is_empty() {
            self.served = self.served.max(Some(place.round));
        }
        Some(waiter)
    }

    /// Gives back its place to who was let through and could not be taken.
    pub fn stand(&mut self, place: Place, waiter: Waiter) {
        self.bytes += waiter.bytes;
        let user = self.users.entry(waiter.user.clone()).or_insert(User { waiting: 0, last: 0 });
        user.waiting += 1;
        user.last = user.last.max(place.round);
        self.places.insert(place, waiter);
    }

    /// Who is next at `now`: the first whose client is there.
    pub fn next(&self, now: Instant) -> Option<(Place, &Waiter)> {
        let mut waiters = self.places.iter();
        waiters.find(|(_, waiter)| waiter.is_there(now)).map(|(place, waiter)| (*place, waiter))
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CoordinatorId;

    const BOUNDS: Hold = Hold {
        max_wait: Duration::from_secs(300),
        max_queries: 1000,
        max_bytes: 1 << 20,
        per_user: 100,
    };

    /// A line, and the names by which its places are known: `a1` is the first query of the user `a`.
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
                let place = self.line.join(waiter, &BOUNDS).expect("there is room");
                self.names.insert(place, name.to_owned());
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

    #[test]
    fn users_take_turns_and_each_keeps_its_order() {
        for (came, served) in [
            ("a1 b1 c1", "a1 b1 c1"),
            ("a1 a2 a3 b1 c1 b2", "a1 b1 c1 a2 b2 a3"),
            ("a1 a2 a3 a4 b1", "a1 b1 a2 a3 a4"),
        ] {
            let mut bed = Bed::new();
            bed.join(came);
            let told: Vec<String> = served.split(' ').map(str::to_owned).collect();
            for (index, name) in told.iter().enumerate() {
                let standing = bed.line.standing(bed.place(name), bed.now);
                assert_eq!((standing.position, standing.of), (index + 1, told.len()), "{name}");
            }
            assert_eq!(bed.serve(told.len()), served);
            assert!(bed.line.is_empty() && bed.line.bytes() == 0 && bed.line.users.is_empty());
        }
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
    }

    #[test]
    fn each_bound_is_told() {
        let mut bed = Bed::new();
        bed.join("a1 a2 b1");
        let now = bed.now;
        let mut come = |user: &str, bytes: usize, bounds: Hold| {
            let id = QueryId::of_held("20260101_000000", 1, CoordinatorId::drawn([0; 5]));
            bed.line.join(Waiter::new(id, user.into(), bytes, now, bounds.max_wait), &bounds).err()
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
    }
}
