//! Which instructions of an operation are tested.
//!
//! Short operations: all. Long ones (registering formats a record and reads `/proc`) are sampled, but never blindly: a
//! stop between two instructions differs for others only if one of them changed what others see. So the measuring run
//! notes every instruction after which the namespace file differs, and every system call; these and their neighbours are
//! always tested, the rest at a stated stride.

use super::code::Kind;
use super::step::{Place, Stepper};
use crate::sparse::extents;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{FileExt, MetadataExt};

/// Up to so many instructions every one is tested.
const ALL: u64 = 400;
/// Of longer operations, about so many, besides those that matter to others.
const SAMPLE: u64 = 40;

/// Operations with more points than this that matter to others (those that walk over all that is stored) are sampled there, too.
const MOST: usize = 400;
const MOST_BRIEF: usize = 200;
const MOST_SPARSE: usize = 100;

/// As the second one, of operations so long that to come to a point takes a tenth of a second and more (a repair): the scenario would
/// take as long as thirty others, and there are three of them. `--deep` has all.
const VERY_LONG: u64 = 1_000_000;
const MOST_OF_VERY_LONG: usize = 14;

/// The second one where there are very many operations.
const SAMPLE_BRIEF: u64 = 4;

/// The same two where there is more time.
const ALL_DEEP: u64 = 2500;
const SAMPLE_DEEP: u64 = 1000;

/// Which points of an operation are tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Density {
    /// Those that matter to others, and a few.
    Brief,
    /// As that, of an operation that walks over all that is stored.
    Sparse,
    /// So many that all scenarios take a few minutes.
    Usual,
    /// Several times as many.
    Deep,
    /// All.
    Full,
}

impl Density {
    /// The same for an operation that walks over all that is stored.
    pub(crate) fn of(self, walks: bool) -> Density {
        if walks && matches!(self, Density::Usual | Density::Brief) { Density::Sparse } else { self }
    }

    fn numbers(self) -> (u64, u64) {
        match self {
            Density::Brief | Density::Sparse => (0, SAMPLE_BRIEF),
            Density::Usual => (ALL, SAMPLE),
            Density::Deep => (ALL_DEEP, SAMPLE_DEEP),
            Density::Full => (u64::MAX, 1),
        }
    }

    /// So many of those that matter to others.
    fn most(self) -> usize {
        match self {
            Density::Brief => MOST_BRIEF,
            Density::Sparse => MOST_SPARSE,
            Density::Usual => MOST,
            Density::Deep | Density::Full => usize::MAX,
        }
    }

    /// What the table says of it.
    pub(crate) fn in_words(self) -> String {
        match (self, self.numbers()) {
            (Density::Full, _) => "Every instruction.".to_owned(),
            (Density::Brief | Density::Sparse, (_, sample)) => format!(
                "Before and after every instruction that changes what others see and every system call, and about {sample} of the \
                 rest, at the stride shown."
            ),
            (_, (all, sample)) => format!(
                "Every instruction up to {all}; of longer operations every instruction that changes what others see and every \
                 system call, with two neighbours on each side{}, and about {sample} of the rest, at the stride shown.",
                if self.most() < usize::MAX {
                    format!(" (about {} of these where there are more, {MOST_OF_VERY_LONG} of the longest)", self.most())
                } else {
                    String::new()
                }
            ),
        }
    }
}

const PAGE: usize = 4096;

/// Collects what matters while the victim is stepped through its whole operation.
pub(crate) struct Measure {
    path: String,
    file: Option<File>,
    /// Where the file has content, and how many blocks that were.
    extents: Vec<(u64, usize)>,
    blocks: u64,
    seen: Vec<u8>,
    now: Vec<u8>,
    next: Kind,
    trace: Vec<u64>,
    matter: BTreeSet<u64>,
}

impl Measure {
    pub(crate) fn new(url: &str) -> Measure {
        let path = url.trim_start_matches("shm:").to_owned();
        let mut m = Measure {
            path,
            file: None,
            extents: Vec::new(),
            blocks: u64::MAX,
            seen: Vec::new(),
            now: Vec::new(),
            next: Kind::ANY,
            trace: Vec::new(),
            matter: BTreeSet::from([0]),
        };
        m.read();
        std::mem::swap(&mut m.seen, &mut m.now);
        m
    }

    fn read(&mut self) {
        // The victim may be the one who makes the file.
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = &self.file else { return };
        let blocks = file.metadata().map_or(0, |m| m.blocks());
        if std::mem::replace(&mut self.blocks, blocks) != blocks {
            self.extents = extents(file);
        }
        self.now.resize(self.extents.iter().map(|e| e.1).sum(), 0);
        let mut at = 0;
        for &(from, len) in &self.extents {
            let n = file.read_at(&mut self.now[at..at + len], from).unwrap_or(0);
            self.now[at + n..at + len].fill(0);
            at += len;
        }
    }

    /// Before an instruction.
    pub(crate) fn before(&mut self, s: &mut Stepper<'_>) {
        self.next = s.next_kind();
        self.trace.extend(s.place());
    }

    /// After it.
    pub(crate) fn after(&mut self, s: &Stepper<'_>) {
        if !self.next.writes {
            return;
        }
        self.read();
        if self.next.system_call || self.now != self.seen {
            std::mem::swap(&mut self.seen, &mut self.now);
            self.asleep(s);
        }
    }

    /// It sleeps in the instruction after those taken.
    pub(crate) fn asleep(&mut self, s: &Stepper<'_>) {
        self.matter.extend(s.taken.saturating_sub(2)..=s.taken + 2);
    }

    /// Lines for the report: how many instructions; those that matter, a few on each line; where each instruction is.
    pub(crate) fn result(self, taken: u64) -> Vec<String> {
        let lines = |kind: &str, numbers: Vec<String>| -> Vec<String> {
            numbers.chunks(40).map(|c| format!("{kind} {}", c.join(" "))).collect()
        };
        let matter = self.matter.iter().filter(|&&k| k <= taken).map(u64::to_string).collect();
        let trace = self.trace.iter().map(u64::to_string).collect();
        [lines("instructions", vec![taken.to_string()]), lines("matter", matter), lines("trace", trace)].concat()
    }
}

/// What a file has for content, as a number. A hole that was looked at through a mapping has become zeros, which are the same.
pub(crate) fn content(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    let file = File::open(path);
    for (from, len) in file.as_ref().map(extents).unwrap_or_default() {
        let mut bytes = vec![0; len];
        let n = file.as_ref().ok().and_then(|f| f.read_at(&mut bytes, from).ok()).unwrap_or(0);
        let pages = bytes[..n].chunks(PAGE).zip((from..).step_by(PAGE));
        pages.filter(|(page, _)| page.iter().any(|b| *b != 0)).for_each(|page| page.hash(&mut hasher));
    }
    hasher.finish()
}

/// The measuring run of one scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    /// How many instructions the whole operation takes.
    pub(crate) instructions: u64,
    matter: BTreeSet<u64>,
    /// Where the n-th instruction is. Every driver is forked from the same process, so addresses are the same in all.
    trace: Vec<u64>,
    /// How many times it has come to that place by then.
    nth: Vec<u32>,
}

impl Measured {
    /// Takes a line of a report in.
    pub(crate) fn read(&mut self, line: &str) {
        let mut words = line.split(' ');
        let kind = words.next();
        let numbers = words.filter_map(|w| w.parse::<u64>().ok());
        match kind {
            Some("instructions") => self.instructions = numbers.sum(),
            Some("matter") => self.matter.extend(numbers),
            Some("trace") => self.trace.extend(numbers),
            _ => {}
        }
    }

    /// All of the report is read.
    pub(crate) fn complete(&mut self) {
        let mut times = HashMap::new();
        // At 0 it is there already, without coming.
        self.nth = self.trace.iter().skip(1).map(|pc| *times.entry(pc).and_modify(|n| *n += 1).or_insert(1u32)).collect();
        self.nth.insert(0, 0);
    }

    /// The way to where the victim is after `k - 1` instructions, so that one step leads to the point `k`. In a loop that
    /// place is passed many times, and each time takes a stop of the victim; so it goes by a place that is rarer, if
    /// there is one on the way.
    pub(crate) fn way_to(&self, k: u64) -> Vec<Place> {
        let Some(to) = usize::try_from(k).ok().and_then(|k| k.checked_sub(1)) else { return Vec::new() };
        if to == 0 || to >= self.trace.len() {
            return Vec::new();
        }
        let place = |i: usize, nth: u32| Place { pc: self.trace[i], nth };
        let (mut best, mut by) = (self.nth[to], None);
        let mut passed = 1;
        for i in (1..to).rev() {
            if passed + 1 >= best {
                break;
            }
            if self.nth[i] + passed < best {
                (best, by) = (self.nth[i] + passed, Some((i, passed)));
            }
            passed += u32::from(self.trace[i] == self.trace[to]);
        }
        match by {
            None => vec![place(to, self.nth[to])],
            Some((i, passed)) => vec![place(i, self.nth[i]), place(to, passed)],
        }
    }

    /// Of those that matter, the one before and the one after each change: without the neighbours at the edges.
    fn around_changes(&self) -> BTreeSet<u64> {
        let is_in = |k: u64| self.matter.contains(&k);
        self.matter.iter().copied().filter(|&k| k == 0 || is_in(k - 1) && is_in(k + 1) && is_in(k + 2)).collect()
    }

    /// The points to test, ascending, and the stride between those that do not matter to others.
    pub(crate) fn points(&self, density: Density, seed: u64) -> (u64, Vec<u64>) {
        let (all, sample) = density.numbers();
        let stride = if self.instructions <= all { 1 } else { self.instructions.div_ceil(sample).max(1) };
        // One beyond the last: the operation is over, and its result is not used yet.
        let sample = (0..=self.instructions + 1).filter(|k| (k + seed).is_multiple_of(stride));
        let matter = match density {
            Density::Brief | Density::Sparse => self.around_changes(),
            _ => self.matter.clone(),
        };
        let most = match density.most() {
            usize::MAX => usize::MAX,
            _ if self.instructions > VERY_LONG => MOST_OF_VERY_LONG,
            most => most,
        };
        let every = matter.len().div_ceil(most).max(1);
        let mut points: BTreeSet<u64> = matter.into_iter().skip(seed as usize % every).step_by(every).collect();
        points.extend(sample);
        points.extend([self.instructions, self.instructions + 1]);
        (stride, points.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{Density, Measured, Place};

    fn measured(lines: &[&str]) -> Measured {
        let mut m = Measured::default();
        lines.iter().for_each(|l| m.read(l));
        m.complete();
        m
    }

    #[test]
    fn short_operations_are_tested_everywhere_and_long_ones_where_it_matters() {
        let short = measured(&["instructions 5", "matter 0 2"]);
        assert_eq!(short.points(Density::Usual, 1), (1, vec![0, 1, 2, 3, 4, 5, 6]));
        let long = measured(&["instructions 10000", "matter 0 7", "matter 4444"]);
        assert_eq!(long.points(Density::Usual, 1).0, 250);
        let (stride, points) = long.points(Density::Deep, 1);
        assert_eq!(stride, 10);
        assert!([0, 7, 4444, 10000, 10001].iter().all(|k| points.contains(k)));
        assert_eq!(long.points(Density::Full, 1).1.len(), 10_002);
        let around = measured(&["instructions 10000", "matter 0 50 51 52 53 54 4444"]);
        let (stride, points) = around.points(Density::Brief, 0);
        assert_eq!((stride, points), (2500, vec![0, 51, 52, 2500, 5000, 7500, 10000, 10001]));
        let many: Vec<String> = (0..900u64).map(|n| (n * 7).to_string()).collect();
        let many = measured(&["instructions 10000", &format!("matter {}", many.join(" "))]);
        let (usual, deep) = (many.points(Density::Usual, 1).1, many.points(Density::Deep, 1).1);
        assert!(usual.len() < 350 && usual.contains(&7) && deep.len() > 900, "{} of {}", usual.len(), deep.len());
    }

    #[test]
    fn a_place_counts_how_often_the_victim_was_there() {
        let m = measured(&["instructions 6", "trace 10 11 12", "trace 11 12 13"]);
        assert_eq!((m.way_to(0), m.way_to(1)), (vec![], vec![]));
        assert_eq!(m.way_to(2), [Place { pc: 11, nth: 1 }]);
        assert_eq!(m.way_to(4), [Place { pc: 11, nth: 2 }]);
        assert_eq!(m.way_to(5), [Place { pc: 12, nth: 2 }]);
        assert_eq!(m.way_to(7), []);
    }

    #[test]
    fn the_way_into_a_second_loop_begins_behind_the_first_one() {
        // The same code is run five times, then something else, then twice again.
        let m = measured(&["instructions 16", "trace 9 1 2 1 2 1 2 1 2 1 2 7 1 2 1 2"]);
        assert_eq!(m.way_to(13), [Place { pc: 7, nth: 1 }, Place { pc: 1, nth: 1 }]);
        assert_eq!(m.way_to(16), [Place { pc: 7, nth: 1 }, Place { pc: 2, nth: 2 }]);
        assert_eq!(m.way_to(11), [Place { pc: 2, nth: 5 }]);
    }
}
