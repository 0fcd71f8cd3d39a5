//! Tables for people, JSON for machines.

use crate::goals::Goal;
use crate::machine;
use crate::plot::Plot;
use crate::rounds::Series;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Everything that one benchmark has to say.
#[derive(Debug, Default)]
pub struct Report {
    /// The heading.
    pub title: String,
    /// How it was measured, in a sentence or two.
    pub how: String,
    /// Tables, in order.
    pub tables: Vec<Table>,
    /// What the project wants to reach.
    pub goals: Vec<Goal>,
    /// The same in pictures.
    pub plots: Vec<Plot>,
}

/// Series that belong beside each other.
#[derive(Debug)]
pub struct Table {
    pub title: String,
    pub unit: Unit,
    pub series: Vec<Series>,
    /// Names of the series to which the others are compared, one column each.
    pub against: Vec<&'static str>,
    /// Peers that could not be had, and why.
    pub absent: Vec<(String, String)>,
    /// Whether there are columns for what nine of ten, and 99 of 100, stay below.
    pub tails: bool,
}

/// The unit in which a table is printed; samples are in nanoseconds, or bytes.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Bytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Microseconds => "us",
            Unit::Milliseconds => "ms",
            Unit::Bytes => "B",
        }
    }

    fn of(self, x: f64) -> f64 {
        match self {
            Unit::Nanoseconds | Unit::Bytes => x,
            Unit::Microseconds => x / 1e3,
            Unit::Milliseconds => x / 1e6,
        }
    }
}

impl Table {
    pub fn new(title: impl Into<String>, unit: Unit, series: Vec<Series>) -> Table {
        Table { title: title.into(), unit, series, against: Vec::new(), absent: Vec::new(), tails: false }
    }

    pub fn against(mut self, names: &[&'static str]) -> Table {
        self.against = names.to_vec();
        self
    }

    pub fn absent(mut self, peers: Vec<(String, String)>) -> Table {
        self.absent = peers;
        self
    }

    pub fn tails(mut self) -> Table {
        self.tails = true;
        self
    }

    pub fn get(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|s| s.name == name)
    }

    /// The ratio of two series: the median over the rounds of the ratio within a round, which a machine that runs
    /// faster or slower for a while does not move.
    pub fn ratio(&self, of: &str, to: &str) -> Option<f64> {
        let (a, b) = (self.get(of)?, self.get(to)?);
        let each = a.samples.iter().zip(&b.samples).filter(|p| *p.1 > 0.0).map(|(a, b)| a / b).collect();
        let each = Series { name: String::new(), samples: each };
        (!each.samples.is_empty()).then(|| each.median())
    }

    /// The columns: what they are called, and which part of the samples stays below.
    fn columns(&self) -> Vec<(String, f64)> {
        let mut columns = vec![(format!("median {}", self.unit.name()), 0.5), ("min".to_owned(), 0.0)];
        if self.tails {
            columns.extend([("90 %".to_owned(), 0.9), ("99 %".to_owned(), 0.99)]);
        }
        columns.push(("max".to_owned(), 1.0));
        columns
    }

    fn text(&self, out: &mut String) {
        let names = self.series.iter().map(|s| &s.name).chain(self.absent.iter().map(|a| &a.0)).chain([&self.title]);
        let wide = names.map(|n| n.chars().count()).max().unwrap_or(0);
        let _ = write!(out, "\n{:<wide$}", self.title);
        for (name, _) in self.columns() {
            let _ = write!(out, "  {name:>10}");
        }
        for a in &self.against {
            let _ = write!(out, "  {:>16}", format!("x {a}"));
        }
        out.push('\n');
        for s in &self.series {
            let _ = write!(out, "{:<wide$}", s.name);
            for (_, part) in self.columns() {
                let _ = write!(out, "  {:>10.2}", self.unit.of(s.quantile(part)));
            }
            for a in &self.against {
                let ratio = self.ratio(&s.name, a).map_or_else(|| "-".to_owned(), |r| format!("{r:.2}"));
                let _ = write!(out, "  {ratio:>16}");
            }
            out.push('\n');
        }
        for (name, why) in &self.absent {
            let _ = writeln!(out, "{name:<wide$}  not measured: {why}");
        }
    }

    /// As documents have it.
    fn markdown(&self, out: &mut String) {
        let of = |s: &Series, (_, part): &(String, f64)| figure(self.unit.of(s.quantile(*part)));
        let mut row = |cells: Vec<String>| {
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        };
        let columns = self.columns();
        let head = [self.title.clone()].into_iter().chain(columns.iter().map(|c| c.0.clone()));
        row(head.chain(self.against.iter().map(|a| format!("× {a}"))).collect());
        row(vec!["---".to_owned(); 1 + columns.len() + self.against.len()]);
        for s in &self.series {
            let ratio = |a: &&'static str| self.ratio(&s.name, a).map_or_else(|| "-".to_owned(), figure);
            let cells = [s.name.clone()].into_iter().chain(columns.iter().map(|c| of(s, c)));
            row(cells.chain(self.against.iter().map(ratio)).collect());
        }
        for (name, why) in &self.absent {
            row(vec![name.clone(), format!("not measured: {why}")]);
        }
    }

    fn json(&self) -> Value {
        let row = |s: &Series| {
            let ratios: serde_json::Map<_, _> =
                self.against.iter().map(|a| ((*a).to_owned(), json!(self.ratio(&s.name, a)))).collect();
            json!({ "name": s.name, "rounds": s.samples.len(), "median": s.median(), "min": s.quantile(0.0),
                    "p90": s.quantile(0.9), "p99": s.quantile(0.99), "max": s.quantile(1.0), "ratio_to": ratios })
        };
        let unit = if matches!(self.unit, Unit::Bytes) { "B" } else { "ns" };
        json!({ "title": self.title, "unit": unit, "rows": self.series.iter().map(row).collect::<Vec<_>>(),
                "absent": self.absent.iter().map(|(name, why)| json!({ "name": name, "why": why })).collect::<Vec<_>>() })
    }
}

impl Report {
    /// For the terminal.
    pub fn text(&self) -> String {
        let mut out = format!("{}\n{}\n{}\n", self.title, self.how, machine::line());
        self.tables.iter().for_each(|t| t.text(&mut out));
        if !self.goals.is_empty() {
            out.push_str("\ngoals\n");
        }
        for g in &self.goals {
            let _ = writeln!(out, "  {}", g.line());
        }
        out
    }

    /// The tables for a document.
    pub fn markdown(&self) -> String {
        let mut out = format!("## {}\n\n{}. {}.\n", self.title, self.how, machine::line());
        for t in &self.tables {
            out.push('\n');
            t.markdown(&mut out);
        }
        out
    }

    /// For the file.
    pub fn json(&self) -> Value {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        json!({
            "title": self.title,
            "how": self.how,
            "time": time,
            "machine": machine::json(),
            "tables": self.tables.iter().map(Table::json).collect::<Vec<_>>(),
            "goals": self.goals.iter().map(Goal::json).collect::<Vec<_>>(),
            "plots": self.plots.iter().map(Plot::json).collect::<Vec<_>>(),
        })
    }
}

/// Three digits, as far as that is below the point; thousands are grouped.
fn figure(x: f64) -> String {
    match x.abs() {
        a if a >= 1000.0 => {
            let digits = format!("{x:.0}");
            let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect::<Vec<_>>();
            groups.join(",")
        }
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.1}"),
        _ => format!("{x:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let of = |name: &str, samples: [f64; 3]| Series { name: name.to_owned(), samples: samples.to_vec() };
        Table::new("t", Unit::Nanoseconds, vec![of("us", [10.0, 40.0, 20.0]), of("them", [20.0, 80.0, 20.0])]).against(&["them"])
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds() {
        assert_eq!(table().ratio("us", "them"), Some(0.5));
        assert_eq!(table().ratio("us", "nobody"), None);
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!([0.5, 12.34, 123.4, 1234.0, 1_234_567.0].map(figure), ["0.50", "12.3", "123", "1,234", "1,234,567"]);
    }

    #[test]
    fn a_table_for_a_document_has_its_ratios() {
        let mut out = String::new();
        table().markdown(&mut out);
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines[0], "| t | median ns | min | max | × them |");
        assert_eq!(lines[2], "| us | 20.0 | 10.0 | 40.0 | 0.50 |");
    }

    #[test]
    fn a_peer_that_could_not_be_had_has_its_row() {
        let mut out = String::new();
        table().absent(vec![("Boost".to_owned(), "no compiler".to_owned())]).text(&mut out);
        assert!(out.contains("Boost  not measured: no compiler"), "{out}");
    }
}
