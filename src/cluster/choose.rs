//! Which of the fit clusters takes the next query: the one that carries least for its weight.
//! Pure.

use std::cmp::Ordering;

use rand::Rng;

use crate::health::verdict::WARM;

/// What a choice knows of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// What it carries.
    pub load: u32,
    /// Its capacity beside the others'. At least 1.
    pub weight: u32,
}

impl Candidate {
    /// Compares load by weight without dividing.
    fn compare(&self, other: &Self) -> Ordering {
        let left = u64::from(self.load) * u64::from(other.weight.max(1));
        let right = u64::from(other.load) * u64::from(self.weight.max(1));
        left.cmp(&right)
    }
}

/// What a cluster looks like that is to take only `warmth` of a thousand of its share: as if each query
/// were as many more there, one that comes next too.
pub fn felt_load(load: u32, warmth: u32) -> u32 {
    let felt = (u64::from(load) + 1) * u64::from(WARM) / u64::from(warmth.clamp(1, WARM)) - 1;
    u32::try_from(felt).unwrap_or(u32::MAX)
}

/// The places of `candidates` in the order in which they should be tried.
///
/// Ties are broken by chance, so that many gateways with the same figures do not all take the
/// first.
pub fn order(candidates: &[Candidate], rng: &mut impl Rng) -> Vec<usize> {
    let mut places: Vec<(usize, u32)> =
        (0..candidates.len()).map(|place| (place, rng.random())).collect();
    places.sort_by(|(left, left_lot), (right, right_lot)| {
        candidates[*left].compare(&candidates[*right]).then(left_lot.cmp(right_lot))
    });
    places.into_iter().map(|(place, _)| place).collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn first(loads: &[(u32, u32)], rng: &mut StdRng) -> usize {
        let candidates: Vec<_> =
            loads.iter().map(|&(load, weight)| Candidate { load, weight }).collect();
        order(&candidates, rng)[0]
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
                loads[first(&[(loads[0], 1), (felt_load(loads[1], warmth), 1)], rng)] += 1;
            }
            loads[1]
        };
        // 100 queries run on the other one when 100 more come.
        let [warm, half, cold] = [WARM, WARM / 2, WARM / 10].map(taken);
        assert_eq!(warm, 100);
        assert!((66..=67).contains(&half) && (17..=18).contains(&cold), "{half} {cold}");
        assert_eq!(
            [felt_load(7, WARM), felt_load(0, 0), felt_load(u32::MAX, 1)],
            [7, 999, u32::MAX]
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
}
