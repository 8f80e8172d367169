//! What was measured: every round's figures, kept as they are, and what they say together.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::Outcome;

/// The figures of one part in one round: `hookline.rate`, `bare.rate` ...
pub(crate) type Figures = BTreeMap<String, f64>;

/// Everything that is known about a run; what `--json` holds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The processor, how many there are, the kernel, the disk.
    pub(crate) machine: BTreeMap<String, String>,
    /// Of each program.
    pub(crate) versions: BTreeMap<String, String>,
    /// How long, how many, with which bodies.
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) rounds: Vec<Round>,
}

/// One part, measured once.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) part: String,
    /// From 1.
    pub(crate) number: usize,
    /// The contenders in the order of this round.
    pub(crate) order: Vec<String>,
    pub(crate) figures: Figures,
}

/// A median with its spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
    pub(crate) rounds: usize,
}

impl Report {
    pub(crate) fn read(file: &Path) -> Outcome<Self> {
        let text = fs::read_to_string(file)
            .map_err(|error| format!("can't read `{}`: {error}", file.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    pub(crate) fn write(&self, file: &Path) -> Outcome {
        Ok(fs::write(file, serde_json::to_string_pretty(self)? + "\n")?)
    }

    /// Returns which number the next round of a part has.
    pub(crate) fn next_number(&self, part: &str) -> usize {
        1 + self.rounds.iter().filter(|round| round.part == part).count()
    }

    /// Returns a figure of a part over all rounds; `None` where it was not measured.
    pub(crate) fn summary(&self, part: &str, figure: &str) -> Option<Summary> {
        self.over(part, |figures| figures.get(figure).copied())
    }

    /// Returns the ratio of two figures of the same rounds.
    pub(crate) fn ratio(&self, part: &str, one: &str, other: &str) -> Option<Summary> {
        self.over(part, |figures| Some(figures.get(one)? / figures.get(other)?))
    }

    fn over(&self, part: &str, read: impl Fn(&Figures) -> Option<f64>) -> Option<Summary> {
        let of_part = self.rounds.iter().filter(|round| round.part == part);
        Summary::of(of_part.filter_map(|round| read(&round.figures)).collect())
    }
}

impl Summary {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let (low, high) = (values.get((values.len() - 1) / 2)?, values.get(values.len() / 2)?);
        Some(Self { least, median: f64::midpoint(*low, *high), most, rounds: values.len() })
    }
}

/// Latencies of one measurement, in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<f64>);

impl Latencies {
    pub(crate) fn add(&mut self, took: std::time::Duration) {
        self.0.push(took.as_secs_f64() * 1e6);
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Puts p50 and p99 among the figures, under this contender's name.
    pub(crate) fn put(mut self, figures: &mut Figures, name: &str) {
        self.0.sort_by(f64::total_cmp);
        for (part, percent) in [("p50_us", 50), ("p99_us", 99)] {
            if let Some(value) = self.0.get(self.0.len() * percent / 100) {
                figures.insert(format!("{name}.{part}"), *value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_the_median_and_the_ends() {
        let summary = Summary::of(vec![3.0, 1.0, 2.0, 10.0]).unwrap();
        assert_eq!(summary, Summary { least: 1.0, median: 2.5, most: 10.0, rounds: 4 });
        assert_eq!(Summary::of(Vec::new()), None);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let round = |one, other| Round {
            part: "ingest".to_owned(),
            number: 1,
            order: Vec::new(),
            figures: [("a.rate".to_owned(), one), ("b.rate".to_owned(), other)].into(),
        };
        let rounds = vec![round(10.0, 5.0), round(1.0, 1.0), round(30.0, 10.0)];
        let report = Report { rounds, ..Report::default() };
        let ratio = report.ratio("ingest", "a.rate", "b.rate").unwrap();
        assert_eq!((ratio.least, ratio.median, ratio.most), (1.0, 2.0, 3.0));
        assert_eq!(report.ratio("ingest", "a.rate", "c.rate"), None);
        assert_eq!(report.next_number("ingest"), 4);
    }
}
