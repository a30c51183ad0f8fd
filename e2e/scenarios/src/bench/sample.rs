//! What was measured, several times, and what it comes to.

use serde::Serialize;

/// One quantity and every time it was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measure {
    /// Dotted name, the key in the range file: `create-to-ready.elected`.
    pub name: String,
    /// Unit of every sample: `s`, `rows/s`, `count`.
    pub unit: &'static str,
    /// In the order they were taken.
    pub samples: Vec<f64>,
}

/// Samples in brief. The spread is worst to best: with a handful of samples a
/// standard deviation would claim more than they hold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Number of samples.
    pub count: usize,
    /// Smallest.
    pub min: f64,
    /// Middle one; the mean of the two middle ones when there are two.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

/// Sums samples up; nothing comes of no samples.
pub fn summarise(samples: &[f64]) -> Option<Summary> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(Summary { count: sorted.len(), min, median: f64::midpoint(lower, upper), max })
}

/// Measures by name, in the order in which each was first recorded.
#[derive(Debug, Default)]
pub struct Measures(Vec<Measure>);

impl Measures {
    /// Adds one sample.
    pub fn record(&mut self, name: &str, unit: &'static str, value: f64) {
        match self.0.iter_mut().find(|measure| measure.name == name) {
            Some(measure) => measure.samples.push(value),
            None => self.0.push(Measure { name: name.to_owned(), unit, samples: vec![value] }),
        }
    }

    /// All of them.
    pub fn all(&self) -> &[Measure] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_median_is_the_middle_sample_or_the_mean_of_two() {
        assert_eq!(summarise(&[9.0, 1.0, 5.0]).unwrap().median, 5.0);
        assert_eq!(summarise(&[1.0, 2.0, 4.0, 9.0]).unwrap().median, 3.0);
        assert_eq!(summarise(&[]), None);
    }

    #[test]
    fn samples_of_one_name_are_kept_together() {
        let mut measures = Measures::default();
        measures.record("b", "s", 1.0);
        measures.record("a", "s", 2.0);
        measures.record("b", "s", 3.0);
        assert_eq!(measures.all()[0].samples, [1.0, 3.0]);
        assert_eq!(measures.all().len(), 2);
    }
}
