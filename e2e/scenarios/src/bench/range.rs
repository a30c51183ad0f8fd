//! What a run must reach, as data: benches/ranges/*.yaml.
//!
//! A bound is derived from trial runs and stands beside them in a comment, so that whoever
//! changes it has to say from what.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::sample::{Measure, summarise};

/// A range file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ranges {
    /// Bounds by the measure's name.
    pub measures: BTreeMap<String, Range>,
}

/// Bounds of one measure's median.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Range {
    /// Unit, the measure's own: a bound in another unit is a mistake, not a bound.
    pub unit: String,
    /// The median must not be above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The median must not be below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// What the project wants to reach; reported, never a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<f64>,
}

/// What became of a measure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Inside its bounds.
    Inside,
    /// Outside; the sentence says how.
    Outside(String),
    /// The file has no bounds for it.
    Unbounded,
}

/// Reads a range file.
pub fn read(path: &Path) -> Result<Ranges> {
    let text = std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
    serde_yaml::from_str(&text).with_context(|| format!("{} is no range file", path.display()))
}

/// Judges one measure.
pub fn judge(ranges: &Ranges, measure: &Measure) -> Verdict {
    let Some(range) = ranges.measures.get(&measure.name) else { return Verdict::Unbounded };
    let name = &measure.name;
    if range.unit != measure.unit {
        return Verdict::Outside(format!(
            "{name} is measured in {}, its bounds are in {}",
            measure.unit, range.unit
        ));
    }
    let Some(summary) = summarise(&measure.samples) else {
        return Verdict::Outside(format!("{name} has no sample"));
    };
    let median = summary.median;
    match (range.min, range.max) {
        (_, Some(max)) if median > max => {
            Verdict::Outside(format!("{name}: median {median:.2} {} is above {max}", measure.unit))
        }
        (Some(min), _) if median < min => {
            Verdict::Outside(format!("{name}: median {median:.2} {} is below {min}", measure.unit))
        }
        _ => Verdict::Inside,
    }
}

/// Bounds for which nothing was measured: a bench that stopped measuring must not pass.
pub fn unmeasured<'a>(ranges: &'a Ranges, measures: &[Measure]) -> Vec<&'a str> {
    let names = ranges.measures.keys().map(String::as_str);
    names.filter(|name| !measures.iter().any(|measure| measure.name == *name)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn ranges() -> Ranges {
        serde_yaml::from_str(
            "measures:\n  up: {unit: s, max: 30, reach: 20}\n  rows: {unit: rows/s, min: 1000}\n",
        )
        .unwrap()
    }

    fn measure(name: &str, unit: &'static str, samples: &[f64]) -> Measure {
        Measure { name: name.into(), unit, samples: samples.to_vec() }
    }

    #[test]
    fn a_median_outside_its_bounds_is_told_with_both_numbers() {
        let slow = judge(&ranges(), &measure("up", "s", &[31.0, 40.0, 29.0]));
        assert_eq!(slow, Verdict::Outside("up: median 31.00 s is above 30".into()));
        let few = judge(&ranges(), &measure("rows", "rows/s", &[999.0]));
        assert_eq!(few, Verdict::Outside("rows: median 999.00 rows/s is below 1000".into()));
        assert_eq!(judge(&ranges(), &measure("up", "s", &[31.0, 29.0, 30.0])), Verdict::Inside);
    }

    #[test]
    fn another_unit_is_never_inside() {
        assert!(matches!(judge(&ranges(), &measure("up", "ms", &[1.0])), Verdict::Outside(_)));
    }

    #[test]
    fn a_bound_without_a_measure_is_missed() {
        assert_eq!(unmeasured(&ranges(), &[measure("up", "s", &[1.0])]), ["rows"]);
    }

    #[test]
    fn every_range_file_of_the_repository_is_read() {
        let folder = crate::config::in_repository("benches/ranges").unwrap();
        let mut files = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            assert!(!read(&entry.unwrap().path()).unwrap().measures.is_empty());
            files += 1;
        }
        assert!(files > 0);
    }
}
