//! Statements that were accepted and may still be moved: until the first page of a query was
//! written to its cluster, Trino has not started it, and a read can be submitted elsewhere.
//!
//! Only one gateway can know that nobody has sent that page, so nothing is kept where several share
//! a store. What is kept is bounded in time and in bytes, and goes with the process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pingora::http::RequestHeader;

use crate::cluster::wish::Wish;
use crate::config::Queries;
use crate::history::record::Request;
use crate::ids::QueryId;
use crate::listener::Client;
use crate::route::priority::Priority;
use crate::time::Instant;

/// A statement and what decides where it goes.
#[derive(Debug, Clone)]
pub struct Order {
    /// The head that the client sent, as the rules changed it.
    pub head: RequestHeader,
    /// What the history keeps of the request as the rules saw it.
    pub request: Request,
    /// The statement, or its beginning if it is too long for memory.
    pub text: Bytes,
    /// Who sent it.
    pub client: Client,
    /// Where the rules let it go.
    pub wish: Wish,
    /// The rule that named it.
    pub rule: Option<String>,
    /// How soon it is let through if it is held.
    pub priority: Priority,
    /// The id that its query has while it is held.
    pub held_id: Option<QueryId>,
}

/// The statements that are kept.
#[derive(Debug, Default)]
pub struct Kept {
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    orders: HashMap<QueryId, (Instant, Arc<Order>)>,
    /// The first to go in front. Some may have gone already.
    ages: VecDeque<(Instant, QueryId)>,
    bytes: usize,
}

impl Order {
    /// What it takes in memory, about: the header map's own entries are reckoned with 64 bytes.
    pub fn size(&self) -> usize {
        let lines = self.head.headers.iter();
        let head: usize = lines.map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        head + self.request.size() + self.text.len()
    }
}

impl Kept {
    /// Keeps the statement of a query that was just accepted; tells whether there was room.
    pub fn keep(&self, id: &QueryId, order: &Arc<Order>, now: Instant, bounds: &Queries) -> bool {
        let size = order.size();
        if size > bounds.rebind_statement {
            return false;
        }
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.expire(now);
        if books.bytes + size > bounds.rebind_memory {
            return false;
        }
        let until = now + bounds.rebind_for;
        books.bytes += size;
        books.orders.insert(id.clone(), (until, order.clone()));
        books.ages.push_back((until, id.clone()));
        true
    }

    /// Takes the statement of a query, if it is still kept at `now`.
    pub fn take(&self, id: &QueryId, now: Instant) -> Option<(Instant, Arc<Order>)> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.expire(now);
        books.remove(id)
    }

    /// Gives back what was taken and could not be moved.
    pub fn put_back(&self, id: &QueryId, (until, order): (Instant, Arc<Order>)) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.bytes += order.size();
        books.orders.insert(id.clone(), (until, order));
        books.ages.push_front((until, id.clone()));
    }

    /// How many bytes are kept.
    pub fn bytes(&self) -> usize {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }
}

impl Books {
    fn remove(&mut self, id: &QueryId) -> Option<(Instant, Arc<Order>)> {
        let (until, order) = self.orders.remove(id)?;
        self.bytes -= order.size();
        Some((until, order))
    }

    fn expire(&mut self, now: Instant) {
        while let Some((until, id)) = self.ages.pop_front_if(|(until, _)| *until <= now) {
            // What was given back stands here twice, with the same end.
            if self.orders.get(&id).is_some_and(|(end, _)| *end == until) {
                self.remove(&id);
            }
        }
    }
}

#[cfg(test)]
impl Order {
    /// Of tests: a statement whose head and request take no memory that counts.
    pub(super) fn bare(text: Bytes, wish: Wish) -> Self {
        use crate::config::{PublicUrl, Scheme};
        let origin = PublicUrl { scheme: Scheme::Http, authority: "t".into() };
        let address = "10.0.0.9";
        Self {
            head: RequestHeader::build("POST", b"/v1/statement", None).expect("a head"),
            request: Request { path: String::new(), listener: String::new(), ..Request::bare() },
            text,
            client: Client {
                address: address.parse().expect("an address"),
                forwarded_for: address.into(),
                origin,
            },
            wish,
            rule: None,
            priority: Priority::default(),
            held_id: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ids::GroupName;

    fn order(bytes: usize) -> Arc<Order> {
        let group = GroupName::parse("bi").expect("a good name");
        Arc::new(Order::bare(vec![b'x'; bytes].into(), group.into()))
    }

    fn id(index: u32) -> QueryId {
        QueryId::parse(&format!("20260101_000000_{index:05}_abcde")).expect("a good id")
    }

    #[test]
    fn what_is_kept_is_bounded_in_time_and_in_bytes() {
        let second = Duration::from_secs(1);
        let bounds = Queries {
            rebind: true,
            rebind_for: second * 30,
            rebind_statement: 10,
            rebind_memory: 25,
        };
        let (kept, start) = (Kept::default(), crate::time::now());
        assert!(!kept.keep(&id(0), &order(11), start, &bounds), "too large alone");
        assert!(kept.keep(&id(1), &order(10), start, &bounds));
        assert!(kept.keep(&id(2), &order(10), start + second, &bounds));
        assert!(!kept.keep(&id(3), &order(10), start + second, &bounds), "too much in all");
        let first = kept.take(&id(1), start + second).expect("it is there");
        assert!(kept.take(&id(1), start + second).is_none(), "it is taken once");
        assert_eq!(kept.bytes(), 10);
        kept.put_back(&id(1), first);
        assert_eq!(kept.bytes(), 20);
        assert!(
            kept.keep(&id(4), &order(10), start + second * 30, &bounds),
            "the first is too old"
        );
        assert!(kept.take(&id(1), start + second * 30).is_none());
        assert!(kept.take(&id(2), start + second * 31).is_none());
        assert_eq!(kept.bytes(), 10);
    }
}
