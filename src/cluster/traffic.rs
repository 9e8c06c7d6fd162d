//! How live traffic fares at a cluster: a window of the last ten seconds, for submits and for pages
//! apart, since a hundred pages that pass say nothing of submits that fail.
//!
//! Counted in atomics: no request takes a lock to say how it went. Two requests at the turn of a
//! second may lose a count, which changes no verdict.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::time::Instant;

/// The seconds of a window.
const SECONDS: usize = 10;

/// Nobody was counted.
const NOBODY: u64 = 0;

/// Several senders were counted.
const SEVERAL: u64 = u64::MAX;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A new query.
    Submit,
    /// A page of a result.
    Page,
}

/// A number that stands for a sender of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender(u64);

impl Sender {
    /// The sender with this hash.
    pub fn of_hash(hash: u64) -> Self {
        Self(hash.clamp(NOBODY + 1, SEVERAL - 1))
    }
}

/// When traffic speaks against a cluster.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The share that must have failed, of a hundred; 0: it never does.
    pub percent: u32,
    /// The requests that it takes at least.
    pub requests: u32,
}

/// How live traffic fares at one cluster.
#[derive(Debug)]
pub struct Traffic {
    submits: Window,
    pages: Window,
    born: Instant,
}

impl Traffic {
    /// No traffic yet at `now`.
    pub fn since(now: Instant) -> Self {
        Self { submits: Window::default(), pages: Window::default(), born: now }
    }

    /// A request went well.
    pub fn good(&self, kind: Kind, sender: Sender, now: Instant) {
        self.window(kind).slot(self.second(now)).good.count(sender);
    }

    /// A request failed. Tells in words why the cluster should get no more, if it should not.
    pub fn bad(&self, kind: Kind, sender: Sender, now: Instant, limits: Limits) -> Option<String> {
        let window = self.window(kind);
        let second = self.second(now);
        window.slot(second).bad.count(sender);
        let (good, bad) = window.sums(second);
        if !speaks_against(good, bad, limits) {
            return None;
        }
        let what = match kind {
            Kind::Submit => "submits",
            Kind::Page => "pages",
        };
        let all = good.requests + bad.requests;
        Some(format!("{} of the last {all} {what} failed", bad.requests))
    }

    /// Forgets it all: what is seen from now on counts.
    pub fn clear(&self) {
        for window in [&self.submits, &self.pages] {
            window.0.iter().for_each(Slot::clear);
        }
    }

    fn window(&self, kind: Kind) -> &Window {
        match kind {
            Kind::Submit => &self.submits,
            Kind::Page => &self.pages,
        }
    }

    /// Seconds since its birth, from 1 on: 0 is what a slot holds that was never used.
    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.born).as_secs() + 1
    }
}

/// What was counted: how many requests, and of whom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    requests: u64,
    sender: u64,
}

impl Sum {
    fn and(self, other: Self) -> Self {
        let sender = match (self.sender, other.sender) {
            (NOBODY, sender) | (sender, NOBODY) => sender,
            (left, right) if left == right => left,
            _ => SEVERAL,
        };
        Self { requests: self.requests + other.requests, sender }
    }
}

/// Whether a cluster should get no more. One sender alone, whose requests fail while others' pass, is
/// the trouble himself.
fn speaks_against(good: Sum, bad: Sum, limits: Limits) -> bool {
    let all = good.requests + bad.requests;
    let own_fault = ![NOBODY, SEVERAL].contains(&bad.sender)
        && good.sender != NOBODY
        && good.sender != bad.sender;
    limits.percent > 0
        && !own_fault
        && all >= u64::from(limits.requests)
        && bad.requests * 100 >= all * u64::from(limits.percent)
}

#[derive(Debug, Default)]
struct Window([Slot; SECONDS]);

impl Window {
    /// The counts of a second, emptied if they are of an older one.
    fn slot(&self, second: u64) -> &Slot {
        let place = usize::try_from(second).unwrap_or(0) % SECONDS;
        let slot = &self.0[place];
        let held = slot.second.load(Ordering::Relaxed);
        if held != second
            && slot
                .second
                .compare_exchange(held, second, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            slot.clear();
        }
        slot
    }

    fn sums(&self, second: u64) -> (Sum, Sum) {
        let seconds = u64::try_from(SECONDS).unwrap_or(0);
        let recent = self.0.iter().filter(|slot| {
            let held = slot.second.load(Ordering::Relaxed);
            held <= second && second < held + seconds
        });
        recent.fold((Sum::default(), Sum::default()), |(good, bad), slot| {
            (good.and(slot.good.sum()), bad.and(slot.bad.sum()))
        })
    }
}

#[derive(Debug, Default)]
struct Slot {
    second: AtomicU64,
    good: Count,
    bad: Count,
}

impl Slot {
    fn clear(&self) {
        for count in [&self.good, &self.bad] {
            count.requests.store(0, Ordering::Relaxed);
            count.sender.store(NOBODY, Ordering::Relaxed);
        }
    }
}

#[derive(Debug, Default)]
struct Count {
    requests: AtomicU32,
    sender: AtomicU64,
}

impl Count {
    fn count(&self, sender: Sender) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match self.sender.load(Ordering::Relaxed) {
            NOBODY => self.sender.store(sender.0, Ordering::Relaxed),
            known if known == sender.0 || known == SEVERAL => {}
            _ => self.sender.store(SEVERAL, Ordering::Relaxed),
        }
    }

    fn sum(&self) -> Sum {
        Sum {
            requests: u64::from(self.requests.load(Ordering::Relaxed)),
            sender: self.sender.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: Limits = Limits { percent: 50, requests: 20 };

    /// After how many requests, good and bad ones by turns as `pattern` has it (`.` good, `x` bad, of
    /// sender 1; `g` good, `b` bad, of sender 2), the cluster is spoken against.
    fn spoken_after(kind: impl Fn(usize) -> Kind, apart: Duration, pattern: &str) -> Option<usize> {
        let now = crate::time::now();
        let traffic = Traffic::since(now);
        let letters = pattern.chars().cycle().take(400);
        let mut at = now;
        for (place, letter) in letters.enumerate() {
            at += apart;
            let sender =
                Sender::of_hash(if letter.is_ascii_alphabetic() && letter != 'x' { 2 } else { 1 });
            match letter {
                '.' | 'g' => traffic.good(kind(place), sender, at),
                _ if traffic.bad(kind(place), sender, at, LIMITS).is_some() => {
                    return Some(place + 1);
                }
                _ => {}
            }
        }
        None
    }

    #[test]
    fn a_share_of_failures_speaks_against_a_cluster() {
        let submits = |_| Kind::Submit;
        let ms = Duration::from_millis;
        assert_eq!(spoken_after(submits, ms(10), "x"), Some(20));
        assert_eq!(spoken_after(submits, ms(10), "bx"), Some(20));
        assert_eq!(spoken_after(submits, ms(10), ".x"), Some(20));
        assert_eq!(spoken_after(submits, ms(10), "..x"), None, "a third of them");
        assert_eq!(spoken_after(submits, ms(1000), "x"), None, "ten in ten seconds are too few");
        // Old ones go: after a good minute it takes new failures.
        let minute = ".".repeat(60);
        assert_eq!(spoken_after(submits, ms(100), &format!("{minute}{minute}xxxxxxxxxx")), None);
    }

    #[test]
    fn a_sender_whose_requests_fail_alone_is_the_trouble_himself() {
        let submits = |_| Kind::Submit;
        let apart = Duration::from_millis(10);
        assert_eq!(spoken_after(submits, apart, "bb."), None, "2 alone fails, and 1 does not");
        assert_eq!(spoken_after(submits, apart, "bbx."), Some(21), "both fail");
        assert_eq!(spoken_after(submits, apart, "bbg"), Some(20), "nobody else is there");
    }

    #[test]
    fn pages_that_pass_do_not_hide_submits_that_fail() {
        // Of four requests one is a submit, and it fails.
        let kind = |place: usize| if place % 4 == 3 { Kind::Submit } else { Kind::Page };
        assert_eq!(spoken_after(kind, Duration::from_millis(10), "...x"), Some(80));
        assert_eq!(spoken_after(|_| Kind::Page, Duration::from_millis(10), "...x"), None);
    }

    #[test]
    fn what_is_forgotten_speaks_against_nobody() {
        let now = crate::time::now();
        let traffic = Traffic::since(now);
        let fail = || traffic.bad(Kind::Page, Sender::of_hash(0), now, LIMITS);
        let told: Vec<_> = (0..20).map(|_| fail()).collect();
        assert_eq!(told[18..], [None, Some("20 of the last 20 pages failed".to_owned())]);
        traffic.clear();
        assert_eq!(fail(), None);
    }
}
