//! Which instructions of an operation are tested.
//!
//! Short operations: all. Long ones (registering formats a record and reads `/proc`) are sampled, but never blindly: a
//! stop between two instructions differs for others only if one of them changed what others see. So the measuring run
//! notes every instruction after which the namespace file differs, and every system call; these and their neighbours are
//! always tested, the rest at a stated stride.

use super::step::{Place, Stepper};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};

/// Up to so many instructions every one is tested.
const ALL: u64 = 400;
/// Of longer operations, about so many, besides those that matter to others.
const SAMPLE: u64 = 150;

/// The same two where there is more time.
const ALL_DEEP: u64 = 2500;
const SAMPLE_DEEP: u64 = 1000;

/// Which points of an operation are tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Density {
    /// So many that all scenarios take a few minutes.
    Usual,
    /// Several times as many.
    Deep,
    /// All.
    Full,
}

/// Collects what matters while the victim is stepped through its whole operation.
pub(crate) struct Measure {
    path: String,
    file: Option<File>,
    /// Where the file has content, and how many blocks that were.
    extents: Vec<(u64, usize)>,
    blocks: u64,
    seen: Vec<u8>,
    now: Vec<u8>,
    system_call: bool,
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
            system_call: false,
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
        self.system_call = s.at_system_call();
        self.trace.extend(crate::sys::program_counter(s.pid));
    }

    /// After it.
    pub(crate) fn after(&mut self, s: &Stepper<'_>) {
        self.read();
        if self.system_call || self.now != self.seen {
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

fn seek(file: &File, at: u64, whence: i32) -> Option<u64> {
    // SAFETY: lseek on an open descriptor has no memory effects; every read of this file gives its own offset.
    let found = unsafe { libc::lseek(file.as_raw_fd(), at as i64, whence) };
    u64::try_from(found).ok()
}

/// The parts of a file that have content: it is mostly holes.
fn extents(file: &File) -> Vec<(u64, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(from) = seek(file, at, libc::SEEK_DATA) {
        let Some(end) = seek(file, from, libc::SEEK_HOLE).filter(|&end| end > from) else { break };
        found.push((from, (end - from) as usize));
        at = end;
    }
    found
}

/// The measuring run of one scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    /// How many instructions the whole operation takes.
    pub(crate) instructions: u64,
    matter: BTreeSet<u64>,
    /// Where the n-th instruction is. Every driver is forked from the same process, so addresses are the same in all.
    trace: Vec<u64>,
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

    /// Where the victim is after `k - 1` instructions, so that one step leads to the point `k`.
    pub(crate) fn place_before(&self, k: u64) -> Option<Place> {
        let at = usize::try_from(k).ok()?.checked_sub(1)?;
        // At 0 it is there already.
        let pc = *self.trace.get(at).filter(|_| at > 0)?;
        Some(Place { pc, nth: self.trace[1..=at].iter().filter(|&&p| p == pc).count() as u32 })
    }

    /// The points to test, ascending, and the stride between those that do not matter to others.
    pub(crate) fn points(&self, density: Density, seed: u64) -> (u64, Vec<u64>) {
        let (all, sample) = match density {
            Density::Usual => (ALL, SAMPLE),
            Density::Deep => (ALL_DEEP, SAMPLE_DEEP),
            Density::Full => (u64::MAX, 1),
        };
        let stride = if self.instructions <= all { 1 } else { self.instructions.div_ceil(sample) };
        // One beyond the last: the operation is over, and its result is not used yet.
        let sample = (0..=self.instructions + 1).filter(|k| (k + seed).is_multiple_of(stride));
        let mut points = self.matter.clone();
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
        m
    }

    #[test]
    fn short_operations_are_tested_everywhere_and_long_ones_where_it_matters() {
        let short = measured(&["instructions 5", "matter 0 2"]);
        assert_eq!(short.points(Density::Usual, 1), (1, vec![0, 1, 2, 3, 4, 5, 6]));
        let long = measured(&["instructions 10000", "matter 0 7", "matter 4444"]);
        assert_eq!(long.points(Density::Usual, 1).0, 67);
        let (stride, points) = long.points(Density::Deep, 1);
        assert_eq!(stride, 10);
        assert!([0, 7, 4444, 10000, 10001].iter().all(|k| points.contains(k)));
        assert_eq!(long.points(Density::Full, 1).1.len(), 10_002);
    }

    #[test]
    fn a_place_counts_how_often_the_victim_was_there() {
        let m = measured(&["instructions 6", "trace 10 11 12", "trace 11 12 13"]);
        assert_eq!((m.place_before(0), m.place_before(1)), (None, None));
        assert_eq!(m.place_before(2), Some(Place { pc: 11, nth: 1 }));
        assert_eq!(m.place_before(4), Some(Place { pc: 11, nth: 2 }));
        assert_eq!(m.place_before(5), Some(Place { pc: 12, nth: 2 }));
        assert_eq!(m.place_before(7), None);
    }
}
