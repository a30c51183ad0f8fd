//! How far a replica is behind, in steps that don't flap.

use lyceum_crds::course_shard::LagBucket;

const MEBIBYTE: i64 = 1 << 20;
/// From here a replica is [`LagBucket::Behind`]: one WAL segment.
const BEHIND: i64 = 16 * MEBIBYTE;
/// From here it is [`LagBucket::FarBehind`].
const FAR_BEHIND: i64 = 1024 * MEBIBYTE;

/// Bucket of `bytes`, given the bucket it was in: up at a bound, down at half of it.
pub(super) fn bucket(bytes: i64, before: Option<LagBucket>) -> LagBucket {
    let holds = |bound: i64, at_least: LagBucket| {
        let was_there = before.is_some_and(|bucket| bucket != LagBucket::Unknown && bucket >= at_least);
        bytes >= if was_there { bound / 2 } else { bound }
    };
    if holds(FAR_BEHIND, LagBucket::FarBehind) {
        LagBucket::FarBehind
    } else if holds(BEHIND, LagBucket::Behind) {
        LagBucket::Behind
    } else {
        LagBucket::Current
    }
}

/// Bytes that a replica at `replica` misses of its primary's `primary`. Both are reported
/// some seconds apart, so a replica may seem ahead: then it misses nothing.
pub(super) fn bytes(primary: i64, replica: i64) -> i64 {
    primary.saturating_sub(replica).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_moves_up_at_the_bound_and_down_at_half_of_it() {
        assert_eq!(bucket(BEHIND - 1, None), LagBucket::Current);
        assert_eq!(bucket(BEHIND, Some(LagBucket::Current)), LagBucket::Behind);
        assert_eq!(bucket(BEHIND - 1, Some(LagBucket::Behind)), LagBucket::Behind);
        assert_eq!(bucket(BEHIND / 2 - 1, Some(LagBucket::Behind)), LagBucket::Current);
        assert_eq!(bucket(FAR_BEHIND / 2, Some(LagBucket::FarBehind)), LagBucket::FarBehind);
        assert_eq!(bucket(FAR_BEHIND / 2 - 1, Some(LagBucket::FarBehind)), LagBucket::Behind);
    }

    #[test]
    fn one_of_unknown_lag_starts_without_memory() {
        assert_eq!(bucket(BEHIND - 1, Some(LagBucket::Unknown)), LagBucket::Current);
    }

    #[test]
    fn a_replica_that_seems_ahead_misses_nothing() {
        assert_eq!(bytes(100, 150), 0);
        assert_eq!(bytes(150, 100), 50);
    }
}
