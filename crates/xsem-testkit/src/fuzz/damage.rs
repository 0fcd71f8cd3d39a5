//! What is done to a file.

use super::template::Template;
use crate::random::Random;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use xsem::shm::testing::UNIT;

/// One damage.
#[derive(Clone, Debug)]
pub enum Damage {
    /// A field gets a value.
    Field { name: String, at: u64, size: u8, value: u64 },
    /// A whole unit of zeros, or of random bytes.
    Unit { at: u64, seed: u64 },
    /// Random bytes anywhere in what is in use.
    Bytes { at: u64, len: u64, seed: u64 },
    /// The length.
    Len(u64),
    /// Cut off there, and made longer again.
    CutAndLonger(u64),
    /// The first unit of another namespace's file.
    OtherHeader,
    /// From there on it is another, empty file.
    TwoHalves(u64),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Field { name, value, .. } => write!(f, "{name} = {value:#x}"),
            Damage::Unit { at, seed: 0 } => write!(f, "zeros in the unit at {at:#x}"),
            Damage::Unit { at, .. } => write!(f, "random bytes in the unit at {at:#x}"),
            Damage::Bytes { at, len, .. } => write!(f, "{len} random bytes at {at:#x}"),
            Damage::Len(n) => write!(f, "its length is {n}"),
            Damage::CutAndLonger(n) => write!(f, "cut off at {n} and made longer again"),
            Damage::OtherHeader => write!(f, "another file's header"),
            Damage::TwoHalves(at) => write!(f, "nothing from {at:#x} on"),
        }
    }
}

impl Damage {
    /// Any damage, mostly of one field.
    pub fn any(t: &Template, r: &mut Random) -> Damage {
        let unit = |r: &mut Random| t.units[r.below(t.units.len() as u64) as usize].0 * UNIT;
        match r.below(40) {
            0 => Damage::Unit { at: unit(r), seed: 0 },
            1 => Damage::Unit { at: unit(r), seed: r.next() | 1 },
            2..=4 => Damage::Bytes { at: unit(r) + r.below(UNIT), len: 1 + r.below(64), seed: r.next() },
            5 => {
                let near = [0, 1, 8, 63, 64, 512, 4096, UNIT - 1, t.len - 1, t.len + 1, t.len + UNIT, t.len * 2];
                Damage::Len(match r.below(3) {
                    0 => near[r.below(near.len() as u64) as usize],
                    1 => unit(r) + [0, 4096][r.below(2) as usize],
                    _ => r.below(t.len),
                })
            }
            6 => Damage::CutAndLonger(if r.one_in(2) { unit(r) } else { r.below(t.len) }),
            7 if r.one_in(3) => Damage::OtherHeader,
            7 => Damage::TwoHalves(unit(r)),
            _ => Damage::field(t, r),
        }
    }

    /// A field with another value, which often looks like a valid one.
    fn field(t: &Template, r: &mut Random) -> Damage {
        // The tables are of very different sizes: first a table, then a field of it.
        let table = |name: &str| name.split(['[', '.']).next().unwrap_or("").to_owned();
        let kind = table(&t.places[r.below(t.places.len() as u64) as usize].name);
        let kinds = [
            "header", "epoch", "cursors", "present", "slot", "row", "joint", "waiter", "morgue", "bucket", "cell", "cold",
            "block", "entry",
        ];
        let kind = if r.one_in(2) { kind } else { kinds[r.below(kinds.len() as u64) as usize].to_owned() };
        let of_kind: Vec<_> = t.places.iter().filter(|p| table(&p.name) == kind).collect();
        let place = match of_kind.len() {
            0 => &t.places[r.below(t.places.len() as u64) as usize],
            n => of_kind[r.below(n as u64) as usize],
        };
        let old = t.value(place);
        let same_field = |name: &str| name.rsplit('.').next().unwrap_or("").to_owned();
        let others: Vec<u64> =
            t.places.iter().filter(|p| same_field(&p.name) == same_field(&place.name)).map(|p| t.value(p)).collect();
        let own = place.name.split(['[', ']']).nth(1).and_then(|i| i.parse::<u64>().ok()).unwrap_or(0);
        let halves = |high: u64, low: u64| high << 32 | low & 0xffff_ffff;
        let value = match r.below(18) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => old.wrapping_add(1),
            4 => old.wrapping_sub(1),
            5 | 6 => others[r.below(others.len() as u64) as usize],
            // A circle.
            7 => halves(old >> 32, own + 1),
            8 => halves(old >> 32, r.below(300)),
            9 => halves(r.next(), old),
            10 => halves(old >> 32, r.next()),
            11 => halves(old >> 32, u64::from(u32::MAX)),
            12 => r.below(300),
            13 => r.next(),
            14 => 1 << 63,
            _ => old ^ 1 << r.below(u64::from(place.size) * 8),
        };
        let value = if place.size == 4 { value & 0xffff_ffff } else { value };
        Damage::Field { name: place.name.clone(), at: place.at, size: place.size, value }
    }

    /// Does it.
    pub fn apply(&self, t: &Template, f: &File) -> io::Result<()> {
        let random = |seed: u64, len: u64| {
            let mut r = Random::new(seed);
            (0..len).map(|_| if seed == 0 { 0 } else { r.next() as u8 }).collect::<Vec<u8>>()
        };
        match self {
            Damage::Field { at, size, value, .. } => f.write_all_at(&value.to_le_bytes()[..*size as usize], *at),
            Damage::Unit { at, seed } => f.write_all_at(&random(*seed, UNIT), *at),
            Damage::Bytes { at, len, seed } => f.write_all_at(&random(*seed, (*len).min(t.len - at)), *at),
            Damage::Len(n) => f.set_len(*n),
            Damage::CutAndLonger(n) => f.set_len(*n).and_then(|()| f.set_len(t.len)),
            Damage::OtherHeader => f.write_all_at(&t.other_header()?, 0),
            Damage::TwoHalves(at) => t
                .units
                .iter()
                .filter(|(u, _)| u * UNIT >= *at)
                .try_for_each(|(u, _)| f.write_all_at(&vec![0; UNIT as usize], u * UNIT)),
        }
    }

    /// Whether it is one of those that opening has to find.
    pub fn changes_len(&self) -> bool {
        matches!(self, Damage::Len(_))
    }
}
