//! Deterministic draws: one seed gives one data set, on any machine and with any version of any
//! crate. So no random number generator from outside is used.

/// Mixes 64 bits into 64 others: the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A number in `[0, 1)` that depends on nothing but `of`.
pub(crate) fn unit(of: &[i64]) -> f64 {
    let mixed = of.iter().fold(0, |state, part| mix(state ^ part.cast_unsigned()));
    // The 53 bits that a double holds.
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// Zipf's law with exponent 1: rank k has weight 1/k. Tenants of marketplaces are spread like this
/// (Citus documentation, cluster management).
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    /// Sums of the weights up to each rank.
    sums: Vec<f64>,
}

impl Zipf {
    /// For up to `ranks` ranks.
    pub(crate) fn new(ranks: i64) -> Self {
        let mut sum = 0.0;
        let add = |rank: i64| {
            sum += 1.0 / rank as f64;
            sum
        };
        Self { sums: (1..=ranks).map(add).collect() }
    }

    /// A rank out of 1 to `ranks`, by `unit` in `[0, 1)`.
    pub(crate) fn rank(&self, ranks: i64, unit: f64) -> i64 {
        let ranks = usize::try_from(ranks).unwrap_or(0).min(self.sums.len());
        let sums = self.sums.get(..ranks).unwrap_or_default();
        let aim = unit * sums.last().copied().unwrap_or(0.0);
        let below = sums.partition_point(|sum| *sum <= aim);
        i64::try_from(below.min(ranks.saturating_sub(1))).unwrap_or(0) + 1
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_draw_depends_on_all_its_parts_and_on_nothing_else() {
        assert_eq!(unit(&[1, 2, 3]), unit(&[1, 2, 3]));
        for other in [[2, 2, 3], [1, 3, 3], [1, 2, 4], [1, 3, 2]] {
            assert_ne!(unit(&[1, 2, 3]), unit(&other));
        }
        // From the same formula in another language. Another value is another data set for every seed.
        assert_eq!(unit(&[1, 2, 3]), 0.814259011529328);
    }

    #[test]
    fn ranks_have_the_weights_of_zipf_s_law() {
        let zipf = Zipf::new(50);
        let mut counts = [0_u32; 51];
        for i in 0..200_000 {
            counts[usize::try_from(zipf.rank(50, unit(&[7, i]))).unwrap()] += 1;
        }
        assert_eq!(counts[0], 0);
        let all: f64 = (1..=50).map(|k| 1.0 / f64::from(k)).sum();
        for rank in [1_u32, 2, 10, 50] {
            let expected = 200_000.0 / f64::from(rank) / all;
            let found = f64::from(counts[rank as usize]);
            // Five standard deviations.
            assert!((found - expected).abs() < 5.0 * expected.sqrt(), "rank {rank}: {found} for {expected}");
        }
    }

    proptest! {
        #[test]
        fn a_rank_is_one_of_those_there_are(most in 1_i64..2_000, share in 0.0_f64..1.0, draw in 0.0_f64..1.0) {
            let ranks = ((most as f64 * share) as i64).max(1);
            let rank = Zipf::new(most).rank(ranks, draw);
            prop_assert!((1..=ranks).contains(&rank));
        }

        #[test]
        fn a_unit_is_below_one(parts in prop::collection::vec(any::<i64>(), 0..5)) {
            let unit = unit(&parts);
            prop_assert!((0.0..1.0).contains(&unit));
        }
    }
}
