//! The CourseShards that scenarios ask for.

use anyhow::{Context, Result};
use lyceum_crds::course_shard::CourseShard;
use serde_json::json;

use crate::config::in_repository;

/// One of the manifests in charts/examples, as a user would apply it.
pub fn example(file: &str) -> Result<CourseShard> {
    let path = in_repository("charts/examples")?.join(file);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    // The file may hold a Namespace and other objects besides.
    for document in serde_yaml::Deserializer::from_str(&text) {
        let value: serde_json::Value = serde::Deserialize::deserialize(document)
            .with_context(|| format!("{} is not YAML", path.display()))?;
        if value.get("kind").and_then(|kind| kind.as_str()) == Some("CourseShard") {
            return serde_json::from_value(value)
                .with_context(|| format!("the CourseShard in {} does not fit its type", path.display()));
        }
    }
    anyhow::bail!("{} holds no CourseShard", path.display())
}

/// A plain PostgreSQL formation as small as it gets: `instances` members, one pooler.
pub fn single(name: &str, instances: i32) -> Result<CourseShard> {
    let shard = json!({
        "apiVersion": "lyceum.dev/v1alpha1",
        "kind": "CourseShard",
        "metadata": {"name": name},
        "spec": {
            "postgres": {"major": 17},
            "coordinator": {
                "instances": instances,
                "storage": {"size": "1Gi"},
                "resources": {"requests": {"cpu": "50m", "memory": "192Mi"}},
                "parameters": {"maxConnections": 60, "settings": {"shared_buffers": "64MB"}},
            },
            "workers": {"count": 0},
            "pooler": {"instances": 1, "serverConnections": 10, "clientConnections": 200},
            "deletionPolicy": "Delete",
        },
    });
    serde_json::from_value(shard).context("the scenarios' own CourseShard does not fit its type")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_small_formation_fits_the_type() {
        assert_eq!(single("small", 2).unwrap().spec.coordinator.instances, 2);
    }
}
