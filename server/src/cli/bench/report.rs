//! What was measured, over all rounds: a table for people, JSON for machines.

use std::{borrow::Cow, path::Path};

use serde::Serialize;
use serde_json::{Map, Number, Value};

use super::{
    super::{
        CommandError,
        event_json::line,
        put,
        screen::Screen,
        table::{Cell, Table},
        text::Align,
    },
    machine::Machine,
};

/// What one round has measured, in the order in which it is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures(Vec<(Cow<'static, str>, &'static str, f64)>);

impl Figures {
    pub(super) fn push(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        unit: &'static str,
        value: f64,
    ) {
        self.0.push((name.into(), unit, value));
    }

    #[expect(clippy::cast_precision_loss, reason = "nothing that is counted here comes near 2^53")]
    pub(super) fn count(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        unit: &'static str,
        count: u64,
    ) {
        self.push(name, unit, count as f64);
    }

    #[expect(clippy::cast_precision_loss, reason = "no machine has 2^53 bytes")]
    pub(super) fn mebibytes(&mut self, name: &'static str, bytes: u64) {
        self.push(name, "MiB", bytes as f64 / 1_048_576.0);
    }
}

/// One figure over all rounds.
#[derive(Clone, Debug)]
struct Series {
    name: Cow<'static, str>,
    unit: &'static str,
    rounds: Vec<f64>,
}

/// What was measured in one setting of those that are compared, such as a number of subscriptions.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// What is varied; empty: nothing is.
    varied: &'static str,
    value: u64,
    series: Vec<Series>,
}

impl Case {
    pub(super) fn only() -> Self {
        Self::of("", 0)
    }

    pub(super) const fn of(varied: &'static str, value: u64) -> Self {
        Self { varied, value, series: Vec::new() }
    }

    /// Adds a round. A figure that some rounds do not have has fewer values.
    pub(super) fn add(&mut self, round: &Figures) {
        for (name, unit, value) in &round.0 {
            match self.series.iter_mut().find(|series| series.name == *name) {
                Some(series) => series.rounds.push(*value),
                None => {
                    let (name, rounds) = (name.clone(), vec![*value]);
                    self.series.push(Series { name, unit, rounds });
                }
            }
        }
    }

    fn json(&self) -> Value {
        let figures: Map<_, _> = self
            .series
            .iter()
            .map(|series| (series.name.clone().into_owned(), series.json()))
            .collect();
        let mut case = Map::new();
        if !self.varied.is_empty() {
            case.insert(self.varied.to_owned(), self.value.into());
        }
        serde_json::json!({ "case": case, "figures": figures })
    }
}

impl Series {
    fn json(&self) -> Value {
        let (least, median, most) = spread(&self.rounds);
        serde_json::json!({
            "unit": self.unit,
            "median": number(median),
            "min": number(least),
            "max": number(most),
            "rounds": self.rounds.iter().copied().map(number).collect::<Vec<_>>(),
        })
    }
}

/// All that a benchmark says.
#[derive(Debug, Serialize)]
pub(super) struct Report<S> {
    benchmark: &'static str,
    version: &'static str,
    build: &'static str,
    machine: Machine,
    settings: S,
    #[serde(serialize_with = "as_json")]
    results: Vec<Case>,
    /// What should not have been: the benchmark has failed.
    problems: Vec<String>,
}

impl<S: Serialize> Report<S> {
    /// Begins; the data of the hub that is measured are in this folder, if it is one of ours.
    pub(super) fn new(benchmark: &'static str, settings: S, data: Option<&Path>) -> Self {
        Self {
            benchmark,
            version: env!("CARGO_PKG_VERSION"),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            machine: Machine::look(data),
            settings,
            results: Vec::new(),
            problems: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, case: Case) {
        self.results.push(case);
    }

    /// Notes what should not have been.
    pub(super) fn problems(&mut self, problems: impl IntoIterator<Item = String>) {
        self.problems.extend(problems);
    }

    /// Prints it.
    ///
    /// # Errors
    ///
    /// If it can't be written; if there are problems, which are then the error.
    pub(super) fn print(&self, as_json: bool) -> Result<(), CommandError> {
        if as_json {
            put(&line(self))?;
        } else {
            self.lines(Screen::of_stdout()).iter().try_for_each(|line| put(line))?;
        }
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(super::BenchError::Failed(self.problems.join("; ")).into())
    }

    fn lines(&self, screen: Screen) -> Vec<String> {
        let build = if cfg!(debug_assertions) {
            "a debug build: no figure means anything"
        } else {
            "release"
        };
        let mut lines = vec![
            format!("{} of hookline {} ({build})", self.benchmark, self.version),
            self.machine.line(),
            String::new(),
        ];
        lines.extend(table(&self.results).lines(screen));
        lines
    }
}

fn as_json<S: serde::Serializer>(cases: &[Case], serializer: S) -> Result<S::Ok, S::Error> {
    cases.iter().map(Case::json).collect::<Vec<_>>().serialize(serializer)
}

/// Returns a row for each figure: of one case, or a total, its spread; of several the median of each.
fn table(cases: &[Case]) -> Table {
    let cases = match cases {
        // What was told on the way is not told again.
        [.., total] if total.varied.is_empty() => std::slice::from_ref(total),
        _ => cases,
    };
    let Some(first) = cases.first() else { return Table::new(&[]) };
    let heads: Vec<String> = match cases {
        [_] => ["MEDIAN", "LEAST", "MOST"].map(str::to_owned).to_vec(),
        _ => cases.iter().map(|case| case.value.to_string()).collect(),
    };
    let name = if cases.len() == 1 { "FIGURE" } else { first.varied };
    let mut table = Table::titled(
        std::iter::once((name.to_owned(), Align::Left))
            .chain(heads.into_iter().map(|head| (head, Align::Right)))
            .chain([("UNIT".to_owned(), Align::Left)])
            .collect(),
    );
    for series in &first.series {
        let values: Vec<f64> = match cases {
            [_] => {
                let (least, median, most) = spread(&series.rounds);
                vec![median, least, most]
            }
            _ => cases.iter().map(|case| median_of(case, &series.name)).collect(),
        };
        let mut row = vec![Cell::new(&series.name.replace('_', " "))];
        row.extend(values.into_iter().map(|value| Cell::from(people(value))));
        row.push(Cell::new(series.unit));
        table.push(row);
    }
    table
}

fn median_of(case: &Case, name: &str) -> f64 {
    let series = case.series.iter().find(|series| series.name == name);
    series.map_or(f64::NAN, |series| spread(&series.rounds).1)
}

/// Returns the least, the median and the most. Of an even number the median is the mean of the two in the middle.
pub(super) fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    let middle = sorted.len() / 2;
    let median = if sorted.len().is_multiple_of(2) {
        f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
    } else {
        at(middle)
    };
    (at(0), median, at(sorted.len().wrapping_sub(1)))
}

/// Returns a number of JSON: a whole one without a fraction, and three digits behind the point of any other.
fn number(value: f64) -> Value {
    let rounded = (value * 1_000.0).round() / 1_000.0;
    if rounded.fract() == 0.0
        && let Ok(whole) = format!("{rounded:.0}").parse::<i64>()
    {
        return whole.into();
    }
    Number::from_f64(rounded).map_or(Value::Null, Value::Number)
}

/// Returns a number as people read it: as many digits as mean something.
fn people(value: f64) -> String {
    if value.is_nan() {
        return "-".to_owned();
    }
    let digits = match value.abs() {
        size if size < 10.0 && value.fract() != 0.0 => 2,
        size if size < 100.0 && value.fract() != 0.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(varied: &'static str, value: u64, rounds: &[f64]) -> Case {
        let mut case = Case::of(varied, value);
        for rate in rounds {
            let mut figures = Figures::default();
            figures.push("rate", "events/s", *rate);
            case.add(&figures);
        }
        case
    }

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_two() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), (1.0, 2.0, 3.0));
        assert_eq!(spread(&[4.0, 1.0]), (1.0, 2.5, 4.0));
        assert!(spread(&[]).1.is_nan());
    }

    #[test]
    fn one_case_is_told_with_its_spread_and_several_by_their_medians() {
        let lines = table(&[case("", 0, &[10.5, 1_000.0, 2.25])]).lines(Screen::PLAIN);
        assert_eq!(
            lines,
            ["FIGURE  MEDIAN  LEAST  MOST  UNIT", "rate      10.5   2.25  1000  events/s"]
        );
        let cases = [case("subscriptions", 1, &[10.0]), case("subscriptions", 100, &[7.0])];
        let lines = table(&cases).lines(Screen::PLAIN);
        assert_eq!(lines, ["subscriptions   1  100  UNIT", "rate           10    7  events/s"]);
    }

    #[test]
    fn json_has_the_machine_the_version_the_settings_and_each_figure_with_its_unit() {
        let mut report = Report::new("ingest", serde_json::json!({"connections": 2}), None);
        report.push(case("", 0, &[10.5, 3.0]));
        let json: Value = serde_json::from_str(&line(&report)).unwrap();
        assert_eq!(json["settings"]["connections"], 2);
        assert!(json["machine"]["cores"].as_u64().unwrap() > 0);
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
        let rate = &json["results"][0]["figures"]["rate"];
        assert_eq!((&rate["unit"], &rate["median"]), (&"events/s".into(), &6.75.into()));
        assert_eq!(rate["rounds"], serde_json::json!([10.5, 3]));
    }
}
