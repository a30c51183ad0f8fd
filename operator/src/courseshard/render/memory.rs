//! How much memory a database pod may use.

use k8s_openapi::api::core::v1::ResourceRequirements;

/// Suffixes of a Kubernetes quantity, with what each stands for in bytes.
const SUFFIXES: [(&str, f64); 12] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("m", 1e-3),
    ("", 1.0),
];

/// Smallest amount that anything is sized by: below it PostgreSQL's own defaults are better.
const LEAST_MEBIBYTES: u64 = 512;

/// Mebibytes of a pod's memory limit, or else of its request; `None` without either, or
/// with too little to divide up.
pub(super) fn mebibytes(resources: &ResourceRequirements) -> Option<u64> {
    let memory = |map: &Option<
        std::collections::BTreeMap<_, k8s_openapi::apimachinery::pkg::api::resource::Quantity>,
    >| { map.as_ref()?.get("memory").and_then(|quantity| bytes(&quantity.0)) };
    let bytes = memory(&resources.limits).or_else(|| memory(&resources.requests))?;
    // Quantities are positive here and far below 2^53: nothing is lost.
    let mebibytes = (bytes / 1_048_576.0) as u64;
    (mebibytes >= LEAST_MEBIBYTES).then_some(mebibytes)
}

fn bytes(quantity: &str) -> Option<f64> {
    // The empty suffix comes last and takes plain and exponent notation.
    let (number, factor) =
        SUFFIXES.iter().find_map(|(suffix, factor)| Some((quantity.strip_suffix(suffix)?, *factor)))?;
    number
        .parse::<f64>()
        .ok()
        .filter(|number| number.is_finite() && *number >= 0.0)
        .map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;

    #[test]
    fn the_limit_counts_before_the_request() {
        let resources = |value| serde_json::from_value::<ResourceRequirements>(value).unwrap();
        assert_eq!(
            mebibytes(&resources(json!({"limits": {"memory": "2Gi"}, "requests": {"memory": "1Gi"}}))),
            Some(2048)
        );
        assert_eq!(mebibytes(&resources(json!({"requests": {"memory": "1536Mi"}}))), Some(1536));
        assert_eq!(mebibytes(&resources(json!({"limits": {"memory": "256Mi"}}))), None);
        assert_eq!(mebibytes(&resources(json!({}))), None);
    }

    #[test]
    fn every_notation_of_a_quantity_is_read() {
        for (text, expected) in
            [("1Gi", 1_073_741_824.0), ("1.5k", 1500.0), ("1000m", 1.0), ("2e3", 2000.0), ("7", 7.0)]
        {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        assert_eq!(bytes("much"), None);
    }
}
