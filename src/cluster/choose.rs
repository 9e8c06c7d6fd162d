//! Which of the fit clusters takes the next query: the one that carries least for its weight. Pure.
//!
//! A gateway knows at once what it sent itself, and what other gateways sent only when a list shows it.
//! If several of them sent each burst to the cluster that was least loaded in the last list, all would
//! go there. So a gateway that has others beside it reckons with what they have sent meanwhile: it
//! fills the clusters up to one level with all of it, and draws by how much each gets.

use std::cmp::Ordering;

use rand::Rng;

use super::load::Signals;
use crate::config::LoadWeights;
use crate::health::verdict::WARM;

/// Among more clusters than so many, two are drawn and compared rather than all looked at.
pub const MANY: usize = 32;

/// How many queries others are held to send for one of ours at most: a gateway that has sent none
/// lately cannot tell.
const OTHERS_MAX: f64 = 50.0;

/// What a choice knows of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// What it carries.
    pub load: u32,
    /// Its capacity beside the others'. At least 1.
    pub weight: u32,
}

/// Who has brought queries to a cluster lately.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Arrivals {
    /// Those of this gateway that no list shows yet.
    pub fresh: u32,
    /// Those of this gateway that lists have shown as new; older ones count less.
    pub own: f64,
    /// Those of everybody else, likewise.
    pub others: f64,
}

impl Candidate {
    /// Compares load by weight without dividing.
    fn compare(&self, other: &Self) -> Ordering {
        let left = u64::from(self.load) * u64::from(other.weight.max(1));
        let right = u64::from(other.load) * u64::from(self.weight.max(1));
        left.cmp(&right)
    }

    fn level(&self) -> f64 {
        f64::from(self.load) / f64::from(self.weight.max(1))
    }
}

/// What a cluster looks like that is to take only `warmth` of a thousand of its share: as if each query
/// were as many more there, the one of load `each` that comes next too.
pub fn felt_load(load: u32, each: u32, warmth: u32) -> u32 {
    let (load, each) = (u64::from(load), u64::from(each));
    let felt = (load + each) * u64::from(WARM) / u64::from(warmth.clamp(1, WARM)) - each;
    u32::try_from(felt).unwrap_or(u32::MAX)
}

/// Adds what memory and processors in use count for, each with the signals of its cluster.
///
/// A whole memory is as `weights.memory` queries for each unit of capacity. A signal that is missing
/// counts as the fullest one that is known: not knowing must not make a cluster look empty. Where none
/// is known it speaks for nobody.
pub fn add_signals(candidates: &mut [Candidate], signals: &[Signals], weights: LoadWeights) {
    type Share = fn(&Signals) -> Option<u32>;
    let parts: [(u32, Share); 2] = [(weights.memory, |it| it.memory), (weights.cpu, |it| it.cpu)];
    for (weight, share) in parts {
        let fullest = signals.iter().filter_map(share).max().unwrap_or_default();
        if weight == 0 || fullest == 0 {
            continue;
        }
        for (candidate, signals) in candidates.iter_mut().zip(signals) {
            let share = u64::from(share(signals).unwrap_or(fullest).min(1000));
            let capacity = u64::from(candidate.weight.max(1));
            let extra = (u64::from(weight) * share * capacity).div_ceil(1000);
            let extra = u32::try_from(extra).unwrap_or(u32::MAX);
            candidate.load = candidate.load.saturating_add(extra);
        }
    }
}

/// How many queries others are likely to have sent to these clusters that no list shows yet. They
/// send when clients are busy, which is when this gateway sends too.
pub fn unseen(arrivals: impl Iterator<Item = Arrivals>) -> f64 {
    let (mut fresh, mut own, mut others) = (0.0, 0.0, 0.0);
    for cluster in arrivals {
        fresh += f64::from(cluster.fresh);
        own += cluster.own;
        others += cluster.others;
    }
    // One more, so that a few of others' do not look like many gateways.
    let for_each = (others / (own + 1.0)).min(OTHERS_MAX);
    for_each * (fresh + 1.0)
}

/// The places of `candidates` in the order in which they should be tried, when `unseen` queries of
/// others are on their way.
///
/// Ties are broken by chance, so that many gateways with the same figures do not all take the
/// first.
pub fn order(candidates: &[Candidate], unseen: f64, rng: &mut impl Rng) -> Vec<usize> {
    let mut places: Vec<(usize, u32)> =
        (0..candidates.len()).map(|place| (place, rng.random())).collect();
    places.sort_by(|(left, left_lot), (right, right_lot)| {
        candidates[*left].compare(&candidates[*right]).then(left_lot.cmp(right_lot))
    });
    let mut places: Vec<usize> = places.into_iter().map(|(place, _)| place).collect();
    if unseen >= 1.0 {
        let drawn = draw(candidates, &places, unseen + 1.0, rng);
        places[..=drawn].rotate_right(1);
    }
    places
}

/// Draws one of `places`, which lie by their level, by how much of `coming` each gets when all are
/// filled up to one level.
fn draw(candidates: &[Candidate], places: &[usize], coming: f64, rng: &mut impl Rng) -> usize {
    let (mut loads, mut weights, mut level) = (0.0, 0.0, 0.0);
    for place in places {
        let candidate = &candidates[*place];
        if weights > 0.0 && candidate.level() >= level {
            break;
        }
        loads += f64::from(candidate.load);
        weights += f64::from(candidate.weight.max(1));
        level = (loads + coming) / weights;
    }
    let mut lot = rng.random_range(0.0..coming);
    for (nth, place) in places.iter().enumerate() {
        let candidate = &candidates[*place];
        lot -= (level - candidate.level()).max(0.0) * f64::from(candidate.weight.max(1));
        if lot < 0.0 {
            return nth;
        }
    }
    0
}

/// Draws two places by weight, which may be the same one.
pub fn two(weights: &[u32], rng: &mut impl Rng) -> [usize; 2] {
    let all: u64 = weights.iter().map(|weight| u64::from((*weight).max(1))).sum();
    [(); 2].map(|()| {
        let mut lot = rng.random_range(0..all.max(1));
        let found = weights.iter().position(|weight| {
            let weight = u64::from((*weight).max(1));
            let here = lot < weight;
            lot = lot.saturating_sub(weight);
            here
        });
        found.unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn memory_and_processors_in_use_count_as_queries() {
        let signals = |memory, cpu| Signals { memory, cpu };
        let told = |weights: LoadWeights, signals: [Signals; 3]| {
            let mut candidates = [1, 1, 4].map(|weight| Candidate { load: 10, weight });
            add_signals(&mut candidates, &signals, weights);
            candidates.map(|candidate| candidate.load)
        };
        let all = [signals(Some(0), None), signals(Some(500), None), signals(Some(1000), None)];
        let weights = |memory, cpu| LoadWeights { memory, cpu, ..LoadWeights::EVEN };
        assert_eq!(told(LoadWeights::EVEN, all), [10, 10, 10], "off, unless it is asked for");
        assert_eq!(told(weights(20, 0), all), [10, 20, 90], "for each unit of capacity");
        assert_eq!(told(weights(0, 20), all), [10, 10, 10], "known of nobody");
        let missing = [signals(None, None), signals(Some(500), None), signals(Some(250), None)];
        assert_eq!(told(weights(20, 0), missing), [20, 20, 30], "as full as the fullest");
        let both = [signals(Some(100), Some(100)); 3];
        assert_eq!(told(weights(10, 10), both), [12, 12, 18]);
        let most = [signals(Some(u32::MAX), Some(u32::MAX)); 3];
        assert_eq!(told(weights(u32::MAX, u32::MAX), most), [u32::MAX; 3]);
    }

    fn first(loads: &[(u32, u32)], rng: &mut StdRng) -> usize {
        let candidates: Vec<_> =
            loads.iter().map(|&(load, weight)| Candidate { load, weight }).collect();
        order(&candidates, 0.0, rng)[0]
    }

    #[test]
    fn the_least_loaded_for_its_weight_is_first() {
        let rng = &mut StdRng::seed_from_u64(1);
        assert_eq!(first(&[(3, 1), (2, 1), (9, 1)], rng), 1);
        assert_eq!(first(&[(3, 1), (8, 3)], rng), 1, "8/3 is less than 3");
        assert_eq!(first(&[(u32::MAX, 1), (u32::MAX, 2)], rng), 1, "nothing overflows");
        assert_eq!(first(&[(1, 0), (2, 1)], rng), 0, "a weight of 0 is read as 1");
    }

    #[test]
    fn ties_are_broken_by_chance() {
        let rng = &mut StdRng::seed_from_u64(1);
        let firsts: Vec<_> = (0..1000).map(|_| first(&[(1, 1), (1, 1)], rng)).collect();
        let ones = firsts.iter().filter(|place| **place == 1).count();
        assert!((400..600).contains(&ones), "{ones} of 1000");
    }

    #[test]
    fn one_that_is_cold_takes_a_tenth() {
        let taken = |warmth| {
            let rng = &mut StdRng::seed_from_u64(3);
            let mut loads = [100_u32, 0];
            for _ in 0..100 {
                loads[first(&[(loads[0], 1), (felt_load(loads[1], 1, warmth), 1)], rng)] += 1;
            }
            loads[1]
        };
        // 100 queries run on the other one when 100 more come.
        let [warm, half, cold] = [WARM, WARM / 2, WARM / 10].map(taken);
        assert_eq!(warm, 100);
        assert!((66..=67).contains(&half) && (17..=18).contains(&cold), "{half} {cold}");
        assert_eq!(
            [
                felt_load(7, 1, WARM),
                felt_load(0, 1, 0),
                felt_load(0, 2, WARM / 2),
                felt_load(u32::MAX, 1, 1),
            ],
            [7, 999, 2, u32::MAX]
        );
    }

    #[test]
    fn weights_share_in_proportion() {
        let rng = &mut StdRng::seed_from_u64(2);
        let (mut loads, weights) = ([0u32, 0], [1, 3]);
        for _ in 0..400 {
            loads[first(&[(loads[0], weights[0]), (loads[1], weights[1])], rng)] += 1;
        }
        assert_eq!(loads, [100, 300]);
    }

    /// How often each is first of a thousand times, when others send `unseen`.
    fn shares(loads: &[(u32, u32)], unseen: f64) -> Vec<u32> {
        let rng = &mut StdRng::seed_from_u64(3);
        let candidates: Vec<_> =
            loads.iter().map(|&(load, weight)| Candidate { load, weight }).collect();
        let mut counts = vec![0; loads.len()];
        for _ in 0..1000 {
            let places = order(&candidates, unseen, rng);
            counts[places[0]] += 1;
            let mut all = places.clone();
            all.sort_unstable();
            assert_eq!(all, (0..loads.len()).collect::<Vec<_>>(), "each is tried once");
        }
        counts
    }

    #[test]
    fn what_others_send_is_filled_in() {
        assert_eq!(shares(&[(20, 1), (24, 1), (90, 1)], 0.9), [1000, 0, 0], "hardly anybody");
        assert_eq!(shares(&[(20, 1), (24, 1), (90, 1)], 3.0), [1000, 0, 0], "no more than the gap");
        let near = |counts: &[u32], expected: &[u32]| {
            let far = counts.iter().zip(expected).any(|(got, right)| got.abs_diff(*right) > 50);
            assert!(!far, "{counts:?} is not about {expected:?}");
        };
        near(&shares(&[(20, 1), (24, 1), (90, 1)], 7.0), &[750, 250, 0]);
        near(&shares(&[(24, 1), (20, 1), (26, 1)], 13.0), &[286, 571, 143]);
        near(&shares(&[(10, 1), (30, 3)], 39.0), &[250, 750]);
        near(&shares(&[(0, 1), (0, 1)], 1e9), &[500, 500]);
    }

    #[test]
    fn others_are_told_by_what_lists_show() {
        let told = |fresh, own, others| Arrivals { fresh, own, others };
        assert_eq!(unseen([].into_iter()), 0.0);
        assert_eq!(unseen([told(9, 100.0, 0.0)].into_iter()), 0.0, "there is nobody else");
        assert_eq!(unseen([told(1, 4.0, 20.0), told(2, 5.0, 20.0)].into_iter()), 16.0);
        assert_eq!(unseen([told(0, 0.0, 1000.0)].into_iter()), OTHERS_MAX);
    }

    #[test]
    fn two_are_drawn_by_weight() {
        let rng = &mut StdRng::seed_from_u64(4);
        let drawn: Vec<usize> = (0..1000).flat_map(|_| two(&[1, 0, 3], rng)).collect();
        let count = |place| drawn.iter().filter(|found| **found == place).count();
        assert!((300..500).contains(&count(0)) && (300..500).contains(&count(1)), "{}", count(0));
        assert!((1100..1300).contains(&count(2)), "{}", count(2));
        assert_eq!(two(&[], rng), [0, 0]);
    }
}
