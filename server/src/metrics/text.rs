//! The text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write as _};

use super::{
    family::{Family, Kind},
    histogram::{BOUNDS, Histogram},
};

/// Figures in the text format.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Begins a metric, whose samples follow.
    pub fn family<'a>(&'a mut self, family: &'a Family) -> Samples<'a> {
        let Family { name, kind, help, .. } = family;
        // Writing to a string does not fail.
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str()).ok();
        Samples { text: &mut self.0, family }
    }

    /// Writes a metric that has one sample, without labels.
    pub fn single(&mut self, family: &Family, value: impl Display) {
        self.family(family).add(&[], value);
    }

    /// Writes a metric that has one histogram, without labels.
    pub fn histogram(&mut self, family: &Family, histogram: &Histogram) {
        assert_eq!(family.kind, Kind::Histogram, "`{}` is none", family.name);
        let name = family.name;
        let text = self.family(family).text;
        let (buckets, count, sum) = histogram.read();
        for ((_, bound), value) in BOUNDS.iter().zip(buckets) {
            writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {value}").ok();
        }
        writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}").ok();
        writeln!(text, "{name}_sum {}\n{name}_count {count}", sum.as_secs_f64()).ok();
    }

    pub(super) fn append(&mut self, other: Self) {
        if self.0.is_empty() {
            *self = other;
        } else {
            self.0.push_str(&other.0);
        }
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// The samples of one metric.
#[derive(Debug)]
pub struct Samples<'a> {
    text: &'a mut String,
    family: &'a Family,
}

impl Samples<'_> {
    /// Writes a sample: the values of the labels in the order of the family's. They are names and words of ours, which
    /// need no escapes.
    pub fn add(&mut self, labels: &[&str], value: impl Display) {
        let Family { name, labels: names, .. } = self.family;
        assert_eq!(names.len(), labels.len(), "`{name}` has other labels");
        self.text.push_str(name);
        let mut before = '{';
        for (label, value) in names.iter().zip(labels) {
            debug_assert!(!value.contains(['"', '\\', '\n']), "`{value}` needs escapes");
            self.text.push(before);
            self.text.push_str(label);
            self.text.push_str("=\"");
            self.text.push_str(value);
            self.text.push('"');
            before = ',';
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        writeln!(self.text, " {value}").ok();
    }
}
