//! Laws of the connection budget, and that the CRD says the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use lyceum_crds::CourseShard;
use lyceum_crds::budget::{BudgetError, DIRECT, POOLER_SURGE, budget};
use lyceum_crds::course_shard::limits::{POOLER_INSTANCES_MAX, SERVER_CONNECTIONS_MIN, WORKERS_MAX};
use lyceum_crds::validate::check;
use proptest::prelude::*;
use serde_json::json;

/// A valid CourseShard but for its budget.
fn shard(instances: i32, server: i32, count: i32, coordinator: i32, workers: i32) -> CourseShard {
    let postgres = if count > 0 { json!({"major": 17, "citus": "13.2"}) } else { json!({"major": 17}) };
    serde_json::from_value(json!({
        "apiVersion": "lyceum.dev/v1alpha1",
        "kind": "CourseShard",
        "metadata": {"name": "school"},
        "spec": {
            "postgres": postgres,
            "coordinator": {"storage": {"size": "1Gi"}, "parameters": {"maxConnections": coordinator}},
            "workers": {"count": count, "storage": {"size": "1Gi"}, "parameters": {"maxConnections": workers}},
            "pooler": {"instances": instances, "serverConnections": server},
        }
    }))
    .unwrap()
}

prop_compose! {
    /// Sizes near each other, so that both verdicts are common.
    fn shards()(
        instances in 1..=POOLER_INSTANCES_MAX,
        server in SERVER_CONNECTIONS_MIN..=60,
        count in 0..=WORKERS_MAX,
        spare in (-30_i32..=200, -30_i32..=200),
    ) -> CourseShard {
        let pooled: i32 = (instances + POOLER_SURGE) * server;
        shard(instances, server, count, (pooled + 30 + spare.0).max(1), (pooled + 60 + spare.1).max(1))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_crd_and_the_function_give_the_same_verdict_in_the_same_words(shard in shards()) {
        let said: Vec<String> = check(&shard).into_iter().map(|finding| finding.message).collect();
        match budget(&shard.spec) {
            Ok(_) => prop_assert_eq!(said, Vec::<String>::new()),
            Err(error) => prop_assert!(said.contains(&error.to_string()), "{:?} lacks {}", said, error),
        }
    }

    #[test]
    fn what_fits_can_open_every_connection_at_once(shard in shards()) {
        let Ok(budget) = budget(&shard.spec) else { return Ok(()) };
        let spec = &shard.spec;
        let pooler = budget.pooler;
        prop_assert_eq!(
            pooler.read_write_connections + pooler.read_only_connections,
            spec.pooler.server_connections
        );
        prop_assert!(pooler.default_pool_size >= 1 && pooler.default_pool_size <= pooler.read_write_connections);
        let pooled = (spec.pooler.instances + POOLER_SURGE) * spec.pooler.server_connections;
        prop_assert!(pooled + DIRECT <= spec.coordinator.parameters.max_connections);
        prop_assert_eq!(budget.citus.is_some(), spec.workers.count > 0);
        if let Some(citus) = budget.citus {
            let backends = pooled + DIRECT;
            // Each backend keeps its cached connection, and all of them may use what one statement may.
            prop_assert!(backends * citus.max_cached_conns_per_worker <= citus.max_shared_pool_size);
            prop_assert!(
                citus.max_adaptive_executor_pool_size == 1
                    || backends * citus.max_adaptive_executor_pool_size <= citus.max_shared_pool_size
            );
            prop_assert!(citus.max_shared_pool_size < spec.workers.parameters.max_connections);
        }
    }

    #[test]
    fn more_connections_never_make_a_fitting_spec_misfit(shard in shards(), more in 0..500) {
        if budget(&shard.spec).is_ok() {
            let mut larger = shard;
            larger.spec.coordinator.parameters.max_connections += more;
            larger.spec.workers.parameters.max_connections += more;
            prop_assert!(budget(&larger.spec).is_ok());
        }
    }

    #[test]
    fn the_number_in_the_sentence_is_the_least_that_fits(shard in shards()) {
        let mut shard = shard;
        for _ in 0..2 {
            match budget(&shard.spec) {
                Ok(_) => break,
                Err(BudgetError::Coordinator(share)) => shard.spec.coordinator.parameters.max_connections = share.needed,
                Err(BudgetError::Workers(share)) => shard.spec.workers.parameters.max_connections = share.needed,
            }
        }
        prop_assert!(budget(&shard.spec).is_ok());
    }
}

#[test]
fn values_out_of_bounds_do_not_wrap_around() {
    let mut shard = shard(1, 2, 1, 100, 100);
    shard.spec.pooler.instances = i32::MAX;
    shard.spec.pooler.server_connections = i32::MAX;
    assert!(matches!(budget(&shard.spec), Err(BudgetError::Coordinator(_))));
}
