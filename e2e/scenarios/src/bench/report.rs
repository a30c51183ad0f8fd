//! The dated result of a run: JSON for programs, Markdown for people.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use super::machine::Machine;
use super::range::{Range, Ranges, Verdict, judge};
use super::sample::{Measure, Summary, summarise};

/// A whole run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Name of the range file.
    pub area: String,
    /// UTC day, `2026-11-25`.
    pub date: String,
    /// Commit that was measured, `-dirty` when the work tree differed from it.
    pub commit: String,
    /// Where.
    pub machine: Machine,
    /// What ran on it: Kubernetes version, nodes, Citus or not.
    pub stand: String,
    /// Figures.
    pub figures: Vec<Figure>,
}

/// One measure, judged.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// The samples.
    #[serde(flatten)]
    pub measure: Measure,
    /// In brief.
    pub summary: Option<Summary>,
    /// Its bounds.
    pub range: Option<Range>,
    /// Inside or outside.
    pub verdict: Verdict,
}

/// Judges every measure.
pub fn figures(measures: &[Measure], ranges: &Ranges) -> Vec<Figure> {
    measures
        .iter()
        .map(|measure| Figure {
            summary: summarise(&measure.samples),
            range: ranges.measures.get(&measure.name).cloned(),
            verdict: judge(ranges, measure),
            measure: measure.clone(),
        })
        .collect()
}

impl Report {
    /// What is outside its bounds, a sentence each.
    pub fn outside(&self) -> Vec<&str> {
        self.figures
            .iter()
            .filter_map(|figure| match &figure.verdict {
                Verdict::Outside(how) => Some(how.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Writes `<date>-<area>.json` and `.md` into `folder`; a second run on a day replaces the first.
    pub fn write(&self, folder: &Path) -> Result<[PathBuf; 2]> {
        std::fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
        let stem = format!("{}-{}", self.date, self.area);
        let (json, markdown) = (folder.join(format!("{stem}.json")), folder.join(format!("{stem}.md")));
        std::fs::write(&json, serde_json::to_string_pretty(self)? + "\n")?;
        std::fs::write(&markdown, self.markdown())?;
        Ok([json, markdown])
    }

    /// The table people read.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "# {}, {}\n\nCommit {}, {}.\n{}.\n\nEach figure is the median; best and worst show the spread.\n\n\
             | measure | unit | runs | median | best to worst | bounds | to reach | verdict |\n\
             |---|---|---|---|---|---|---|---|\n",
            self.area,
            self.date,
            self.commit,
            self.stand,
            self.machine.line()
        );
        for figure in &self.figures {
            let _ = writeln!(text, "{}", figure.row());
        }
        text
    }
}

impl Figure {
    fn row(&self) -> String {
        let (count, median, spread) = match self.summary {
            Some(s) => (s.count, format!("{:.2}", s.median), format!("{:.2} to {:.2}", s.min, s.max)),
            None => (0, "-".into(), "-".into()),
        };
        let range =
            self.range.clone().unwrap_or(Range { unit: String::new(), max: None, min: None, reach: None });
        let bounds = match (range.min, range.max) {
            (None, None) => "none".into(),
            (Some(min), None) => format!("at least {min}"),
            (None, Some(max)) => format!("at most {max}"),
            (Some(min), Some(max)) => format!("{min} to {max}"),
        };
        let reach = range.reach.map_or("-".into(), |reach| reach.to_string());
        let verdict = match self.verdict {
            Verdict::Inside => "inside",
            Verdict::Outside(_) => "OUTSIDE",
            Verdict::Unbounded => "no bounds",
        };
        let (name, unit) = (&self.measure.name, self.measure.unit);
        format!("| {name} | {unit} | {count} | {median} | {spread} | {bounds} | {reach} | {verdict} |")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_report_shows_what_is_outside() {
        let ranges: Ranges = serde_yaml::from_str("measures: {up: {unit: s, max: 2, reach: 1}}").unwrap();
        let measures = [Measure { name: "up".into(), unit: "s", samples: vec![3.0, 2.5] }];
        let report = Report {
            area: "first-light".into(),
            date: "2026-11-25".into(),
            commit: "abc".into(),
            machine: Machine { processor: "P".into(), cores: 2, memory_gib: 24, kernel: "6".into() },
            stand: "Kubernetes v1.35.4, 2 nodes".into(),
            figures: figures(&measures, &ranges),
        };
        assert_eq!(report.outside(), ["up: median 2.75 s is above 2"]);
        let row = "| up | s | 2 | 2.75 | 2.50 to 3.00 | at most 2 | 1 | OUTSIDE |";
        assert!(report.markdown().contains(row), "{}", report.markdown());
    }
}
