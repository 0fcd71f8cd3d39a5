//! Line plots as SVG. Ours, since all that is needed is one kind of picture: a few lines over one logarithmic axis, in
//! colours that fit a light and a dark page, which no plotting crate writes.

use serde_json::{Value, json};
use std::fmt::Write;

/// One picture.
#[derive(Debug)]
pub struct Plot {
    /// Name of the file, without its ending.
    pub file: &'static str,
    pub title: String,
    pub x: Across,
    /// What the vertical axis says; it is logarithmic.
    pub y: String,
    pub lines: Vec<Line>,
}

/// One line.
#[derive(Debug)]
pub struct Line {
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// The horizontal axis.
#[derive(Debug)]
pub enum Across {
    /// Each value that occurs, at equal distances.
    Each(String),
    /// Parts below 1, the more room the rarer: 0.9, 0.99, 0.999 at equal distances.
    Nines(String),
}

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
/// Where the names of the lines begin.
const RIGHT: f64 = 560.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 345.0;

/// Colours that are told apart by most people, on white and on black; xsem's own come first and are drawn thicker.
const COLOURS: [&str; 9] = ["#e15759", "#f28e2b", "#4e79a7", "#59a14f", "#b07aa1", "#76b7b2", "#9c755f", "#bab0ac", "#edc948"];
const DASHES: [&str; 3] = ["", "6 3", "2 3"];

const STYLE: &str = "text{font:12px sans-serif;fill:#333}.t{font-size:15px;font-weight:bold}.g{stroke:#ddd}\
                     @media(prefers-color-scheme:dark){text{fill:#ccc}.g{stroke:#444}}";

impl Plot {
    /// The same as numbers.
    pub fn json(&self) -> Value {
        let lines = self.lines.iter().map(|l| json!({ "name": l.name, "points": l.points })).collect::<Vec<_>>();
        json!({ "file": self.file, "title": self.title, "x": self.x.label(), "y": self.y, "lines": lines })
    }

    /// The picture.
    pub fn svg(&self) -> String {
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" role=\"img\">\
             <title>{0}</title><style>{STYLE}</style>\n<text class=\"t\" x=\"{LEFT}\" y=\"22\">{0}</text>\n",
            escaped(&self.title)
        );
        let across = self.across();
        let (low, high) = self.decades();
        let up = |y: f64| BOTTOM - (y.max(low).log10() - low.log10()) / (high / low).log10() * (BOTTOM - TOP);
        for (value, label) in steps(low, high) {
            let y = up(value);
            let _ = write!(out, "<line class=\"g\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
            let _ = writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 6.0, y + 4.0);
        }
        for (x, label) in &across {
            let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", BOTTOM + 18.0);
        }
        let middle = (LEFT + RIGHT) / 2.0;
        let _ = writeln!(
            out,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 14.0,
            escaped(self.x.label())
        );
        let turned = (TOP + BOTTOM) / 2.0;
        let _ = writeln!(
            out,
            "<text transform=\"translate(16 {turned}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escaped(&self.y)
        );
        for (i, line) in self.lines.iter().enumerate() {
            let (colour, dash) = (COLOURS[i % COLOURS.len()], DASHES[i % DASHES.len()]);
            let width = if line.name.starts_with("xsem") { 3.0 } else { 1.6 };
            let at = |(x, y): &(f64, f64)| format!("{:.1},{:.1}", self.right(*x), up(*y));
            let points = line.points.iter().map(at).collect::<Vec<_>>().join(" ");
            let pen = format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-dasharray=\"{dash}\"");
            let _ = writeln!(out, "<polyline {pen} points=\"{points}\"/>");
            let (y, x) = (TOP + 8.0 + 20.0 * i as f64, RIGHT + 14.0);
            let _ = write!(out, "<line {pen} x1=\"{x}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/>", x + 24.0);
            let _ = writeln!(out, "<text x=\"{}\" y=\"{}\">{}</text>", x + 30.0, y + 4.0, escaped(&line.name));
        }
        out.push_str("</svg>\n");
        out
    }

    /// Every value of the horizontal axis, once, in order.
    fn values(&self) -> Vec<f64> {
        let mut all: Vec<f64> = self.lines.iter().flat_map(|l| &l.points).map(|p| p.0).collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        all
    }

    /// Where a value is on the horizontal axis.
    fn right(&self, x: f64) -> f64 {
        let values = self.values();
        let part = match self.x {
            Across::Each(_) => {
                let at = values.iter().position(|v| *v == x).unwrap_or(0);
                // A single value stands in the middle.
                if values.len() < 2 { 0.5 } else { at as f64 / (values.len() - 1) as f64 }
            }
            Across::Nines(_) => nines(x) / nines(values.last().copied().unwrap_or(x)).max(f64::MIN_POSITIVE),
        };
        LEFT + part * (RIGHT - LEFT)
    }

    /// Places and labels of the horizontal axis.
    fn across(&self) -> Vec<(f64, String)> {
        match self.x {
            Across::Each(_) => self.values().iter().map(|v| (self.right(*v), short(*v))).collect(),
            Across::Nines(_) => {
                let last = self.values().last().copied().unwrap_or(0.0);
                let shown = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999].into_iter().filter(|p| *p <= last);
                shown.map(|p| (self.right(p), format!("{} %", (p * 1e6).round() / 1e4))).collect()
            }
        }
    }

    /// The ends of the vertical axis: powers of ten, or, where all lies within few, a half of them.
    fn decades(&self) -> (f64, f64) {
        let all = || self.lines.iter().flat_map(|l| &l.points).map(|p| p.1).filter(|y| *y > 0.0);
        let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
        if !(low.is_finite() && high > 0.0) {
            return (1.0, 10.0);
        }
        let (low, high) = (10f64.powf(low.log10().floor()), 10f64.powf(high.log10().ceil()));
        (low, if high > low { high } else { low * 10.0 })
    }
}

impl Across {
    fn label(&self) -> &str {
        match self {
            Across::Each(label) | Across::Nines(label) => label,
        }
    }
}

fn nines(part: f64) -> f64 {
    -(1.0 - part).max(1e-9).log10()
}

/// The marks of the vertical axis: 1, 10, 100, and 2, 5, 20, 50 where there is room.
fn steps(low: f64, high: f64) -> Vec<(f64, String)> {
    let within: &[f64] = if high / low > 1e4 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let mut out = Vec::new();
    let mut decade = low;
    while decade <= high * 1.001 {
        let marks = within.iter().map(|m| m * decade).filter(|v| *v <= high * 1.001);
        out.extend(marks.map(|v| (v, short(v))));
        decade *= 10.0;
    }
    out
}

/// A number with few letters: 2000000 is 2M.
fn short(v: f64) -> String {
    let (by, letter) = match v {
        _ if v >= 1e6 => (1e6, "M"),
        _ if v >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let text = format!("{:.3}", v / by);
    format!("{}{letter}", text.trim_end_matches('0').trim_end_matches('.'))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(x: Across, points: &[(f64, f64)]) -> Plot {
        let line = Line { name: "a < b".to_owned(), points: points.to_vec() };
        Plot { file: "p", title: "T".to_owned(), x, y: "ns".to_owned(), lines: vec![line] }
    }

    #[test]
    fn each_value_has_its_place_and_a_decade_its_height() {
        let p = plot(Across::Each("n".to_owned()), &[(1.0, 1.0), (8.0, 10.0), (64.0, 100.0)]);
        let svg = p.svg();
        assert!(svg.contains("points=\"70.0,345.0 315.0,192.5 560.0,40.0\""), "{svg}");
        assert!(svg.contains(">64</text>") && svg.contains("a &lt; b") && !svg.contains("a < b"), "{svg}");
    }

    #[test]
    fn rare_cases_have_room() {
        let p = plot(Across::Nines("p".to_owned()), &[(0.0, 1.0), (0.9, 2.0), (0.99, 3.0)]);
        assert!((p.right(0.9) - (LEFT + RIGHT) / 2.0).abs() < 0.01);
        assert_eq!(p.across().iter().map(|a| a.1.as_str()).collect::<Vec<_>>(), ["0 %", "50 %", "90 %", "99 %"]);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.05, 2.0, 1500.0, 20_000.0, 1e6].map(short), ["0.05", "2", "1500", "20k", "1M"]);
    }
}
