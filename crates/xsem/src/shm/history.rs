//! What is written down of what happens, and read again. Off, nothing of it costs anything: the short way of acquire and
//! release is closed while it is on (`fault.rs`, `entitle`), and what goes the long way asks once.
//!
//! Words of a record: who, `uid << 32 | pid`, target, token, monotonic and wall clock, how long it took, what; then the name and
//! the command, each with its length in the first byte. What: `kind | epoch << 8 | detail << 16 | permits << 32`.

use super::arena::Arena;
use super::layout::{INCIDENTS, MAX_HISTORY, RECORD_TEXT, Record as Bytes};
use super::map::Map;
use super::members::{Life, Members, Who, shorten};
use super::obituary::{decode, encode};
use super::object::ShmExclusive;
use super::ring::{Ring, Words};
use super::sys;
use super::word::Owner;
use crate::claim::{Kind, Process, ProcessState};
use crate::deadline::{now, realtime};
use crate::engine::Spec;
use crate::error::{Code, Error, Result};
use crate::history::{Happened, History, Record};
use crate::interrupt;
use crate::sync::Ordering::*;
use std::time::{Duration, SystemTime};

/// Records that there is room for, unless somebody says otherwise.
pub const USUAL: u32 = 4096;
const ON: u64 = 1;
/// Room for the text itself.
const TEXT: usize = RECORD_TEXT * 8 - 1;

/// What is to be written down.
pub struct Note<'a> {
    pub what: What,
    pub name: &'a str,
    pub target: u64,
    pub claimant: u32,
    pub token: u64,
    pub permits: u32,
    /// Nanoseconds; 0: none.
    pub took: u64,
    /// When it began to be true.
    pub at: u64,
}

impl<'a> Note<'a> {
    /// Now, of one semaphore.
    pub fn of(sem: &'a ShmExclusive, what: What) -> Note<'a> {
        Note { target: sem.target(), ..Note::named(sem.name().as_str(), what) }
    }

    /// Now, of a name.
    pub fn named(name: &'a str, what: What) -> Note<'a> {
        Note { what, name, target: 0, claimant: 0, token: 0, permits: 1, took: 0, at: now() }
    }
}

/// The same as [`Happened`], as numbers: no allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct What {
    kind: u8,
    detail: u16,
}

impl What {
    pub const ACQUIRED: What = What { kind: 1, detail: 0 };
    pub const TOLD: What = What { kind: 1, detail: 1 };
    pub const RELEASED: What = What { kind: 2, detail: 0 };
    pub const CONSISTENT: What = What { kind: 4, detail: 0 };
    pub const DRAINING: What = What { kind: 7, detail: 0 };
    pub const DRAINED: What = What { kind: 8, detail: 0 };
    pub const REOPENED: What = What { kind: 9, detail: 0 };
    pub const SIGNALLED: What = What { kind: 10, detail: 0 };
    pub const RESET: What = What { kind: 11, detail: 0 };
    pub const ADDED: What = What { kind: 12, detail: 0 };
    pub const USED_UP: What = What { kind: 13, detail: 0 };
    pub const RESIZED: What = What { kind: 14, detail: 0 };
    pub const REMOVED: What = What { kind: 16, detail: 0 };
    const BEGAN: What = What { kind: 17, detail: 0 };
    const STOPPED: What = What { kind: 18, detail: 0 };

    /// A claim that ended with its owner.
    pub fn died(cause: crate::claim::Cause) -> What {
        let (number, signal) = encode(cause);
        What { kind: 3, detail: (number as u16) << 8 | signal as u16 }
    }

    /// An error that ended a request.
    pub fn refused(code: Code) -> What {
        What { kind: 5, detail: code.number() as u16 }
    }

    /// A new name.
    pub fn created(kind: Kind) -> What {
        What { kind: 15, detail: shape_of_kind(kind) as u16 }
    }
}

/// What a semaphore is or was asked to be, as a number: `kind << 24 | pool, credit, manual, auto << 16 | limit`.
pub fn shape(spec: &Spec) -> u32 {
    use crate::claim::{Mode, Reset};
    let how = match spec.kind {
        Kind::Counting if spec.mode == Mode::Credit => 2,
        Kind::Event if spec.reset == Reset::Auto => 2,
        Kind::Exclusive => 0,
        _ => 1,
    };
    shape_of_kind(spec.kind) << 24 | how << 16 | spec.limit & 0xffff
}

/// The same where only the kind was said.
pub fn shape_of_kind(kind: Kind) -> u32 {
    match kind {
        Kind::Exclusive => 1,
        Kind::Counting => 2,
        Kind::Event => 3,
    }
}

fn shape_text(shape: u32) -> String {
    match (shape >> 24, shape >> 16 & 0xff, shape & 0xffff) {
        (1, ..) => "an exclusive semaphore".into(),
        (2, 1, n) => format!("a pool of {n}"),
        (2, 2, n) => format!("a credit of at most {n}"),
        (2, ..) => "a counting semaphore".into(),
        (3, 1, _) => "a manual event".into(),
        (3, 2, _) => "an auto event".into(),
        (3, ..) => "an event".into(),
        _ => "something else".into(),
    }
}

/// Whether it is written, by the file.
pub fn is_on(map: &Map) -> bool {
    map.history().state.load(Acquire) & ON != 0
}

/// For how many records there is room; 0 where it was never on, or what is there cannot be.
fn size(map: &Map) -> u32 {
    let size = map.history().state.load(Acquire) >> 8;
    if (1..=MAX_HISTORY as u64).contains(&size) { size as u32 } else { 0 }
}

/// Whether a value can be the state.
pub fn is_state(state: u64) -> bool {
    state == 0 || state & 0xff <= ON && (1..=MAX_HISTORY as u64).contains(&(state >> 8))
}

fn ring<'a>(map: &'a Map) -> Ring<'a, impl Fn(u32) -> Option<&'a Bytes>> {
    Ring { next: &map.history().next, size: size(map), record: |i| map.record(i) }
}

fn incidents_ring<'a>(map: &'a Map) -> Ring<'a, impl Fn(u32) -> Option<&'a Bytes>> {
    Ring { next: &map.history().next_incident, size: INCIDENTS, record: |i| Some(map.incident(i)) }
}

/// Writes down what this process has done. No allocation and no lock: also at interrupt time.
#[cold]
#[inline(never)]
pub fn note(arena: &Arena, note: &Note<'_>) {
    if let Some(me) = arena.me() {
        write(arena, me, &words_of(arena, Some(me), note));
    }
}

/// The same about another one.
#[cold]
#[inline(never)]
pub fn note_about(arena: &Arena, owner: Option<Owner>, who: &Who, note: &Note<'_>) {
    if let Some(me) = arena.me() {
        let mut words = words_of(arena, owner, note);
        introduce(&mut words, who);
        write(arena, me, &words);
    }
}

fn write(arena: &Arena, me: Owner, words: &Words) {
    ring(&arena.map).write(me.bits(), words, |o| has_stopped(arena, o));
}

/// Writes down what is always kept, whether the history is on or not: what two programs do not agree about.
#[cold]
#[inline(never)]
pub fn incident(arena: &Arena, note: &Note<'_>) {
    let me = arena.me();
    let mut words = words_of(arena, me, note);
    if me.is_none() {
        introduce(&mut words, &Who::this_process(None));
    }
    let bits = me.map_or(0, Owner::bits);
    incidents_ring(&arena.map).write(bits, &words, |o| has_stopped(arena, o));
    if arena.is_recorded() {
        ring(&arena.map).write(bits, &words, |o| has_stopped(arena, o));
    }
}

/// Somebody asked for something else than is there.
pub fn mismatch(arena: &Arena, name: &str, code: Code, asked: u32, there: u32) {
    let what = What { kind: 6, detail: code.number() as u16 };
    incident(arena, &Note { token: (asked as u64) << 32 | there as u64, ..Note::named(name, what) });
}

/// Whether a member will never write again. At interrupt time only what needs no look around.
fn has_stopped(arena: &Arena, owner: u32) -> bool {
    let Some(owner) = Owner::from_bits(owner) else { return true };
    let members: &Members = &arena.members;
    match members.life(&arena.map, owner) {
        Life::Alive => false,
        Life::Gone => true,
        Life::Dead => !interrupt::is_now() && members.gate_is_open(&arena.map, owner.slot()),
    }
}

fn words_of(arena: &Arena, owner: Option<Owner>, note: &Note<'_>) -> Words {
    let mut words = [0; super::layout::RECORD_WORDS];
    words[0] = (owner.map_or(0, Owner::bits) as u64) << 32 | note.claimant as u64;
    words[2] = note.target;
    words[3] = note.token;
    words[4] = note.at;
    words[5] = realtime().saturating_sub(now().saturating_sub(note.at));
    words[6] = note.took;
    let epoch = arena.map.header().epoch.load(Relaxed) & 0xff;
    words[7] = note.what.kind as u64 | epoch << 8 | (note.what.detail as u64) << 16 | (note.permits as u64) << 32;
    put_text(&mut words[8..8 + RECORD_TEXT], note.name.as_bytes());
    if let Some(slot) = owner.and_then(|o| arena.map.slot(o.slot())) {
        let id = &slot.identity;
        words[1] = id.pid_uid.load(Relaxed);
        for (to, from) in words[8 + RECORD_TEXT..].iter_mut().zip(&id.command) {
            *to = from.load(Relaxed);
        }
    }
    words
}

fn introduce(words: &mut Words, who: &Who) {
    words[1] = (who.uid as u64) << 32 | who.pid as u64;
    put_text(&mut words[8 + RECORD_TEXT..], who.command.as_bytes());
}

fn put_text(to: &mut [u64], text: &[u8]) {
    let len = text.len().min(TEXT);
    let byte = |i: usize| match i {
        0 => len as u8,
        i if i <= len => text[i - 1],
        _ => 0,
    };
    for (k, word) in to.iter_mut().enumerate() {
        *word = u64::from_le_bytes(std::array::from_fn(|b| byte(k * 8 + b)));
    }
}

/// Text that was cut in the middle of a character ends before it.
fn text(words: &[u64]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let len = (bytes[0] as usize).min(bytes.len() - 1);
    let whole = match std::str::from_utf8(&bytes[1..1 + len]) {
        Ok(t) => t.to_owned(),
        Err(e) if e.error_len().is_none() => String::from_utf8_lossy(&bytes[1..1 + e.valid_up_to()]).into_owned(),
        Err(_) => String::from_utf8_lossy(&bytes[1..1 + len]).into_owned(),
    };
    shorten(&whole, 2 * TEXT)
}

/// As people read it. None: of a kind that is not known here.
fn decoded(position: u64, words: &Words) -> Option<Record> {
    let (kind, detail, permits) = (words[7] as u8, (words[7] >> 16) as u16, (words[7] >> 32) as u32);
    let code = Code::from_number(detail as u32);
    let what = match kind {
        1 => Happened::Acquired { died: detail == 1 },
        2 => Happened::Released,
        3 => Happened::Died(decode(((detail >> 8) as u8, detail as u8))),
        4 => Happened::Consistent,
        5 => Happened::Refused(code?),
        6 => Happened::Mismatch { code: code?, asked: shape_text((words[3] >> 32) as u32), there: shape_text(words[3] as u32) },
        7 => Happened::Draining,
        8 => Happened::Drained,
        9 => Happened::Reopened,
        10 => Happened::Signalled,
        11 => Happened::Reset,
        12 => Happened::Added,
        13 => Happened::UsedUp,
        14 => Happened::Resized,
        15 => Happened::Created(match detail {
            1 => Kind::Exclusive,
            2 => Kind::Counting,
            3 => Kind::Event,
            _ => return None,
        }),
        16 => Happened::Removed,
        17 => Happened::Began,
        18 => Happened::Stopped,
        _ => return None,
    };
    let (pid, uid) = (words[1] as u32, (words[1] >> 32) as u32);
    Some(Record {
        position,
        at: SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(words[5]))?,
        monotonic: Duration::from_nanos(words[4]),
        name: text(&words[8..8 + RECORD_TEXT]),
        process: Process { pid, uid, command: text(&words[8 + RECORD_TEXT..]), state: ProcessState::Unseen, host: None },
        claimant: words[0] as u32,
        token: if kind == 6 { 0 } else { words[3] },
        what,
        permits,
        took: (words[6] != 0).then(|| Duration::from_nanos(words[6])),
    })
}

/// In the order of time. Who writes something down does so an instant after it happened, so that neighbours may have changed
/// places; and each boot has a clock of its own.
fn in_order(map: &Map, found: impl Iterator<Item = (u64, Words)>) -> Vec<Record> {
    let epoch = map.header().epoch.load(Relaxed) as u8;
    let mut all: Vec<_> = found.map(|(at, words)| (epoch.wrapping_sub((words[7] >> 8) as u8), words[4], at, words)).collect();
    all.sort_unstable_by_key(|(epoch, time, at, _)| (std::cmp::Reverse(*epoch), *time, *at));
    all.into_iter().filter_map(|(_, _, at, words)| decoded(at, &words)).collect()
}

/// What is there, from a position on.
pub fn read(map: &Map, from: u64) -> History {
    let records = in_order(map, ring(map).read().filter(|(at, _)| *at >= from));
    History::new(is_on(map).then(|| size(map)).filter(|n| *n != 0), records)
}

/// What programs have not agreed about, and other things that are always kept.
pub fn incidents(map: &Map) -> Vec<Record> {
    in_order(map, incidents_ring(map).read())
}

/// Switches it on, with room for so many records, or off.
pub fn switch(arena: &'static Arena, records: Option<u32>) -> Result<()> {
    let me = arena.enroll()?;
    let (map, state) = (&arena.map, &arena.map.history().state);
    match records {
        Some(n) => {
            if !(1..=MAX_HISTORY).contains(&n) {
                return Err(Error::new(Code::InvalidParameter, format!("a history of {n} records"))
                    .advice(format!("1 to {MAX_HISTORY} are allowed; {USUAL} are usual")));
            }
            map.ensure(map.geo.history_at, n as u64 * size_of::<Bytes>() as u64)?;
            let was = state.swap((n as u64) << 8 | ON, AcqRel);
            tell(arena);
            if was & ON == 0 {
                write(arena, me, &words_of(arena, Some(me), &Note::named("", What::BEGAN)));
            }
        }
        None => {
            let was = state.load(Acquire);
            if was & ON != 0 {
                write(arena, me, &words_of(arena, Some(me), &Note::named("", What::STOPPED)));
                let _ = state.compare_exchange(was, was & !ON, AcqRel, Relaxed);
            }
            tell(arena);
        }
    }
    Ok(())
}

/// Members look at the file again: who watches it by inotify at once, the others within a second.
fn tell(arena: &Arena) {
    arena.look();
    if let Some(fd) = arena.map.fd() {
        sys::touch(fd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_and_are_cut_at_a_character() {
        let mut words = [0; RECORD_TEXT];
        for t in ["", "a", &"x".repeat(TEXT)] {
            put_text(&mut words, t.as_bytes());
            assert_eq!(text(&words), t);
        }
        put_text(&mut words, format!("a{}", "ä".repeat(60)).as_bytes());
        assert_eq!(text(&words), format!("a{}", "ä".repeat(43)));
    }

    #[test]
    fn states() {
        assert!(is_state(0) && is_state((4096 << 8) | 1) && is_state(1 << 8));
        assert!(!is_state(1) && !is_state(u64::MAX) && !is_state((16_385 << 8) | 1) && !is_state((4096 << 8) | 2));
    }
}
