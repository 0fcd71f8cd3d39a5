//! Member processes: who they are, whether they live, and whether a dead one has stopped writing.
//!
//! A member's *main word* is the first of its row, and the first in the robust list of its keeper thread:
//!
//! ```text
//!  63        56 55             32 31  30  29                    0
//! +------------+-----------------+---+---+-----------------------+
//! |   epoch    |   generation    | W | D |   keeper's thread id  |
//! +------------+-----------------+---+---+-----------------------+
//! ```
//!
//! | low half | means |
//! |---|---|
//! | 0 | never used |
//! | a thread id | alive; the kernel will set D when that thread ends, for whatever reason |
//! | D set | dead; it may still be writing until the gate is open |
//!
//! The other words of the row belong to the members that watch this one: word `1 + s` to the member in slot `s`, which
//! writes the thread id and W there before it sleeps (see [`Members::watch`]), so that the kernel wakes one sleeper *of
//! each* watching process.

use super::descriptor::Descriptor;
use super::futex::{self, FUTEX_WAITERS, OWNER_DIED, TID_MASK, Watch};
use super::image::Image;
use super::layout::{Identity, MORGUE, Slot, hash};
use super::map::Map;
use super::protocol::Gate;
use super::sys;
use super::word::{Owner, State};
use crate::claim::{Process, ProcessState};
use crate::deadline::now;
use crate::seeded::{Bug, seeded};
use crate::sync::{AtomicU64, Ordering::*, fence};

/// The full generation in a main word.
pub fn generation(main: u64) -> u32 {
    (main >> 32) as u32 & 0x00ff_ffff
}

/// The low bits of the epoch in a main word.
pub fn epoch(main: u64) -> u8 {
    (main >> 56) as u8
}

/// A main word of a living member.
pub fn main_word(epoch: u8, generation: u32, tid: u32) -> u64 {
    (epoch as u64) << 56 | (generation as u64 & 0x00ff_ffff) << 32 | tid as u64
}

/// Whether a main word says alive.
pub fn is_alive(main: u64) -> bool {
    main as u32 & TID_MASK != 0 && main as u32 & OWNER_DIED == 0
}

/// Marks a member of another epoch dead, as the kernel would have done.
pub fn bury_other_epoch(main: &AtomicU64, current: u8) {
    let v = main.load(Acquire);
    if v as u32 != 0 && epoch(v) != current {
        let dead = v & !(u32::MAX as u64) | OWNER_DIED as u64;
        // Fails only when somebody else did it, or the slot is in use again already.
        let _ = main.compare_exchange(v, dead, AcqRel, Acquire);
    }
}

/// What is known of an owner from its main word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Lives, or is stopped, or dumps core.
    Alive,
    /// Its keeper has ended; whether it has stopped writing is the gate's question.
    Dead,
    /// Dead, and past the gate: its slot is in use by another.
    Gone,
}

/// Bytes of an identity's command, its length included.
const COMMAND: usize = 17 * 8;

/// A member's identity as text and numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    pub pid: u32,
    pub uid: u32,
    pub start: u64,
    pub pid_ns: u64,
    pub image: Image,
    pub command: String,
}

impl Who {
    /// What can be told of another process of this pid namespace.
    pub fn of_process(pid: u32) -> Option<Who> {
        let start = sys::stat_of(pid).ok().flatten()?.start;
        let command = shorten(&sys::command_of(pid), COMMAND - 1);
        Some(Who { pid, uid: sys::user_of(pid), start, pid_ns: sys::pid_namespace(), image: Image::of_process(pid), command })
    }

    /// Reads this process's own identity.
    pub fn this_process(command: Option<&str>) -> Who {
        let pid = std::process::id();
        Who {
            pid,
            uid: sys::uid(),
            // By this name it is this process in whatever /proc.
            start: sys::stat("/proc/self/stat").ok().flatten().map_or(0, |s| s.start),
            pid_ns: sys::pid_namespace(),
            image: Image::own(),
            command: shorten(&command.map_or_else(sys::command_line, str::to_owned), COMMAND - 1),
        }
    }
}

/// Shortens text to at most `max` bytes at a character's boundary, without control characters.
pub fn shorten(text: &str, max: usize) -> String {
    let mut out = String::new();
    for ch in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if out.len() + ch.len_utf8() > max {
            while out.len() + 3 > max {
                out.pop();
            }
            out.push_str("...");
            break;
        }
        out.push(ch);
    }
    out
}

fn store(id: &Identity, w: &Who, when: u64) {
    id.pid_uid.store((w.uid as u64) << 32 | w.pid as u64, Relaxed);
    id.start.store(w.start, Relaxed);
    id.pid_ns.store(w.pid_ns, Relaxed);
    id.joined.store(when, Relaxed);
    id.image.store(w.image.bits(), Relaxed);
    store_command(id, &w.command);
}

/// No allocation: the keeper does this, too.
fn store_command(id: &Identity, command: &str) {
    let mut bytes = [0u8; COMMAND];
    bytes[0] = command.len().min(COMMAND - 1) as u8;
    for (to, from) in bytes[1..].iter_mut().zip(command.bytes()) {
        *to = from;
    }
    for (word, chunk) in id.command.iter().zip(bytes.chunks_exact(8)) {
        word.store(u64::from_le_bytes(chunk.try_into().unwrap_or([0; 8])), Relaxed);
    }
}

/// In a slot's stamp, beside the generation: the identity is there.
const WHOLE: u64 = 1 << 32;
/// It is, but for the command, which is being changed.
const RENAMING: u64 = 2 << 32;

fn load(id: &Identity) -> Who {
    let bytes: Vec<u8> = id.command.iter().flat_map(|w| w.load(Relaxed).to_le_bytes()).collect();
    let len = (bytes[0] as usize).min(bytes.len() - 1);
    let pid_uid = id.pid_uid.load(Relaxed);
    Who {
        pid: pid_uid as u32,
        uid: (pid_uid >> 32) as u32,
        start: id.start.load(Relaxed),
        pid_ns: id.pid_ns.load(Relaxed),
        image: Image::from_bits(id.image.load(Relaxed)),
        command: shorten(&String::from_utf8_lossy(&bytes[1..1 + len]), 135),
    }
}

fn words(id: &Identity) -> impl Iterator<Item = u64> + '_ {
    [&id.pid_uid, &id.start, &id.pid_ns, &id.joined, &id.image].into_iter().chain(&id.command).map(|w| w.load(Relaxed))
}

/// The members of a mapped namespace, as this process sees them.
#[derive(Debug)]
pub struct Members {
    gate: Descriptor,
    /// The namespace file itself.
    file_id: (u64, u64),
}

impl Members {
    /// With the gate file.
    pub fn new(gate: Descriptor, file_id: (u64, u64)) -> Members {
        Members { gate, file_id }
    }

    /// Takes the gate's lock for a slot, waiting for a previous holder that is being taken apart.
    pub fn lock_gate(&self, slot: u32) -> std::io::Result<()> {
        sys::lock_byte(self.gate.get()?, slot as u64)
    }

    /// Who holds the gate's lock of a slot: a process id, 0 where it cannot be seen from this pid namespace. None: nobody.
    pub fn lock_holder(&self, slot: u32) -> std::io::Result<Option<u32>> {
        sys::lock_holder(self.gate.get()?, slot as u64)
    }

    /// The gate's descriptor, for who only looked.
    pub fn into_gate(self) -> Descriptor {
        self.gate
    }

    /// Whether another process holds that lock.
    pub fn gate_is_locked(&self, slot: u32) -> std::io::Result<bool> {
        sys::byte_is_locked(self.gate.get()?, slot as u64)
    }

    /// Whether an owner lives.
    #[inline]
    pub fn life(&self, map: &Map, owner: Owner) -> Life {
        let Some(row) = map.row(owner.slot()) else { return Life::Gone };
        let main = row[0].load(Acquire);
        match () {
            () if !owner.is_generation(generation(main)) || main as u32 == 0 => Life::Gone,
            () if is_alive(main) => Life::Alive,
            () => Life::Dead,
        }
    }

    /// Whether what a dead member left may be touched.
    ///
    /// Its keeper's end does not say that: another thread of it may be inside a long system call that writes shared
    /// memory. So either every thread is seen without memory; or its byte lock is gone (the kernel drops it after the last
    /// thread has let go of the memory) and, where it can be seen, the process runs another program than it did, or does not
    /// have the file mapped (a program may have closed the gate's descriptor, and lost the lock by that).
    pub fn gate(&self, map: &Map, slot: u32) -> Gate {
        let (Some(s), Some(row)) = (map.slot(slot), map.row(slot)) else { return Gate::Open };
        let main = row[0].load(Acquire);
        // Of another boot, or of the file that this one is a copy of: nobody of then can write here.
        if epoch(main) != map.header().epoch.load(Acquire) as u8 {
            return Gate::Open;
        }
        let identity = self.identity_in_slot(map, slot).filter(|(g, _)| *g == generation(main));
        // Died while it registered: it has no identity, and had nothing to write to.
        let visible = identity.map(|(_, w)| w).filter(|w| sys::sees(w.pid_ns));
        let stopped = match (&visible, self.gate_is_locked(slot)) {
            (Some(w), _) if sys::has_let_go(w.pid) => true,
            // Another process of this number, or another program in this process.
            (Some(w), Ok(false)) => {
                let same = sys::stat_of(w.pid).map_or(true, |s| s.is_some_and(|s| sys::same_start(s.start, w.start)));
                !same || !sys::maps_file(w.pid, self.file_id) || self.has_become_another_program(map, w)
            }
            (None, Ok(false)) => true,
            // Still held, or nobody can say (ENOLCK and its like).
            _ => false,
        };
        match stopped || seeded(Bug::GateIgnored) {
            false => Gate::Writing,
            true if self.cover_lives(s) && !seeded(Bug::CoverIgnored) => Gate::Covering,
            true => Gate::Open,
        }
    }

    /// Whether a process has gone on to another program than the one that was introduced, by exec: nothing of that one is left,
    /// though the new one may have the same file mapped, and be a member.
    fn has_become_another_program(&self, map: &Map, was: &Who) -> bool {
        let other = |now: Image| was.image.is_surely_not(now);
        // Where exec puts memory in the same places each time, only the new program itself can tell, which does when it joins.
        let tells = |slot| {
            let alive = map.row(slot).is_some_and(|row| is_alive(row[0].load(Acquire)));
            let now = self.identity_in_slot(map, slot).filter(|_| alive).map(|(_, w)| w);
            now.is_some_and(|n| {
                (n.pid, n.pid_ns) == (was.pid, was.pid_ns) && sys::same_start(n.start, was.start) && other(n.image)
            })
        };
        other(Image::of_process(was.pid)) || (0..map.slots()).any(tells)
    }

    /// Whether the gate is open.
    pub fn gate_is_open(&self, map: &Map, slot: u32) -> bool {
        self.gate(map, slot) == Gate::Open
    }

    /// Whether the command that a member covers still runs. In another pid namespace it cannot be seen; it counts as
    /// ended there, see `docs/crash.md`.
    fn cover_lives(&self, s: &Slot) -> bool {
        let (pid, start) = (s.cover_pid.load(Acquire) as u32, s.cover_start.load(Relaxed));
        pid != 0
            && sys::sees(s.identity.pid_ns.load(Relaxed))
            && match sys::stat_of(pid) {
                Ok(Some(p)) => sys::same_start(p.start, start) && !matches!(p.state, b'Z' | b'X'),
                // Not shown (hidepid), or not readable now: only the kernel's own word that it is gone counts.
                Ok(None) => !sys::is_gone(pid),
                Err(_) => true,
            }
    }

    /// Whether the command still runs that a member covers.
    pub fn covers(&self, map: &Map, slot: u32) -> bool {
        map.slot(slot).is_some_and(|s| self.cover_lives(s))
    }

    /// Waits a little for the gate of a dead member: told by the kernel where it is the covered command that lives, with
    /// growing steps otherwise.
    pub fn wait_for_gate(&self, map: &Map, slot: u32, attempt: u32) {
        let _whole = sys::whole();
        if let Some(s) = map.slot(slot)
            && self.cover_lives(s)
            && let Some(fd) = sys::pidfd(s.cover_pid.load(Acquire) as u32)
        {
            return sys::wait_readable(&fd, 50);
        }
        // A look costs some microseconds by itself, and mostly it is a matter of some tens; a sleep would take longer.
        match attempt.checked_sub(16) {
            None => std::thread::yield_now(),
            Some(n) => super::sys::nap(std::time::Duration::from_micros(20 << n.min(6))),
        }
    }

    /// Prepares a sleep that ends when `owner` dies. None: it is dead already.
    ///
    /// The order is what makes it right. The row word is read *before* the main word is seen alive, and replaced by a
    /// compare-and-swap: so a slow thread of this process can never overwrite what a faster one has armed for a later
    /// incarnation. The main word is read again afterwards: it comes first in the robust list, so if it still says alive,
    /// the kernel has not yet looked at the row word, and will find it armed.
    pub fn watch(&self, map: &Map, owner: Owner, me: Owner) -> Option<Watch> {
        let row = map.row(owner.slot())?;
        let mine = row_word(&row[1 + me.slot() as usize]);
        loop {
            let old = mine.load(Acquire);
            let main = row[0].load(Acquire);
            if !owner.is_generation(generation(main)) || !is_alive(main) {
                return None;
            }
            let armed = main as u32 & TID_MASK | FUTEX_WAITERS;
            if old != armed {
                if mine.compare_exchange(old, armed, AcqRel, Acquire).is_err() {
                    continue;
                }
                // Another thread of this process may sleep here for an earlier incarnation, whose death the word no
                // longer shows.
                if old != 0 {
                    futex::wake_all(mine);
                }
            }
            fence(SeqCst);
            return (row[0].load(Acquire) == main).then(|| Watch::shared(mine as *const _, armed));
        }
    }

    /// After a sleep: if the kernel woke one thread of this process for a death, wakes the others.
    pub fn relay(&self, map: &Map, owner: Owner, me: Owner) {
        if let Some(row) = map.row(owner.slot()) {
            let mine = row_word(&row[1 + me.slot() as usize]);
            if mine.load(Acquire) & OWNER_DIED != 0 {
                futex::wake_all(mine);
            }
        }
    }

    /// Writes the identity of a slot's new incarnation.
    pub fn introduce(&self, map: &Map, slot: u32, generation: u32, who: &Who) {
        let Some(s) = map.slot(slot) else { return };
        s.stamp.store(0, Release);
        fence(SeqCst);
        s.cover_pid.store(0, Relaxed);
        s.cover_start.store(0, Relaxed);
        s.join_cell.store(0, SeqCst);
        s.inside.store(0, Relaxed);
        store(&s.identity, who, now());
        s.stamp.store(generation as u64 | WHOLE, Release);
    }

    /// Writes the identity of a living member again, and nothing else of its slot.
    pub fn introduce_again(&self, map: &Map, slot: u32, generation: u32, who: &Who) {
        let Some(s) = map.slot(slot) else { return };
        s.stamp.store(0, Release);
        fence(SeqCst);
        store(&s.identity, who, now());
        s.stamp.store(generation as u64 | 1 << 32, Release);
    }

    /// Does what the kernel does when a keeper ends: the main word says dead, and whoever watches it is woken. False: it is not
    /// what was seen any more.
    pub fn bury(&self, map: &Map, slot: u32, main: u64) -> bool {
        let Some(row) = map.row(slot) else { return false };
        let dead = main & !(u32::MAX as u64) | OWNER_DIED as u64;
        if row[0].compare_exchange(main, dead, AcqRel, Relaxed).is_err() {
            return false;
        }
        for word in row[1..].iter().map(row_word) {
            let seen = word.load(Acquire);
            if seen & TID_MASK != 0 && word.compare_exchange(seen, seen & FUTEX_WAITERS | OWNER_DIED, AcqRel, Relaxed).is_ok() {
                futex::wake_all(word);
            }
        }
        true
    }

    /// Changes the command in an identity.
    pub fn describe(&self, map: &Map, me: Owner, command: &str) {
        if let Some(s) = map.slot(me.slot()) {
            let generation = s.stamp.load(Acquire) & u32::MAX as u64;
            // Who is stopped or killed here keeps its number and its start: only its command cannot be told.
            s.stamp.store(generation | RENAMING, Release);
            fence(SeqCst);
            store_command(&s.identity, command);
            s.stamp.store(generation | WHOLE, Release);
        }
    }

    /// The identity in a slot and its full generation, when it is there and whole.
    pub fn identity_in_slot(&self, map: &Map, slot: u32) -> Option<(u32, Who)> {
        let s = map.slot(slot)?;
        let stamp = s.stamp.load(Acquire);
        let mut who = load(&s.identity);
        if stamp & RENAMING != 0 {
            who.command.clear();
        }
        fence(Acquire);
        (stamp != 0 && s.stamp.load(Relaxed) == stamp).then_some((stamp as u32, who))
    }

    /// Who an owner is or was; and whether it belongs to an earlier epoch. None when its details were evicted.
    pub fn who(&self, map: &Map, owner: Owner) -> Option<(Who, bool)> {
        let current = map.header().epoch.load(Acquire) as u8;
        // `introduce` makes an identity unreadable for an instant.
        for _ in 0..100 {
            if let Some((g, who)) = self.identity_in_slot(map, owner.slot()) {
                if !owner.is_generation(g) {
                    break;
                }
                let main = map.row(owner.slot())?[0].load(Acquire);
                // Taken already by another one, who has not introduced itself yet: its epoch is not that of the one before.
                if generation(main) != g {
                    break;
                }
                return Some((who, epoch(main) != current));
            }
            std::hint::spin_loop();
        }
        (0..MORGUE).find_map(|i| {
            let d = map.dead(i);
            let key = d.key.load(Acquire);
            if key as u32 & 0xffff != owner.slot() + 1 || !owner.is_generation((key >> 32) as u32 & 0x00ff_ffff) {
                return None;
            }
            let who = load(&d.identity);
            let whole = d.check.load(Acquire) == check(key, &d.identity) && d.key.load(Acquire) == key;
            whole.then_some((who, (key >> 56) as u8 != current))
        })
    }

    /// Keeps the identity of a slot that is about to be used again. Doing it twice is harmless.
    pub fn to_morgue(&self, map: &Map, slot: u32, main: u64) {
        let Some((g, who)) = self.identity_in_slot(map, slot) else { return };
        if g != generation(main) || who.pid == 0 {
            return;
        }
        let d = map.dead(map.header().cursors.morgue.fetch_add(1, Relaxed));
        let key = main & !(u32::MAX as u64) | (slot as u64 + 1);
        d.key.store(0, Release);
        fence(SeqCst);
        store(&d.identity, &who, 0);
        d.check.store(check(key, &d.identity), Release);
        d.key.store(key, Release);
    }

    /// An owner as others see it.
    pub fn process(&self, map: &Map, owner: Owner) -> Process {
        let life = self.life(map, owner);
        match self.who(map, owner) {
            None => Process::new(0, 0, "", ProcessState::Dead),
            Some((w, _)) => {
                let state = self.state(map, owner, life, &w);
                Process::new(w.pid, w.uid, w.command, state)
            }
        }
    }

    fn state(&self, map: &Map, owner: Owner, life: Life, w: &Who) -> ProcessState {
        match life {
            Life::Gone => ProcessState::Dead,
            Life::Dead if self.gate_is_open(map, owner.slot()) => ProcessState::Dead,
            Life::Dead => ProcessState::Dying,
            Life::Alive if !sys::sees(w.pid_ns) => ProcessState::Unseen,
            Life::Alive => match sys::stat_of(w.pid) {
                Ok(Some(s)) if matches!(s.state, b'T' | b't') => ProcessState::Stopped,
                Ok(Some(_)) => ProcessState::Alive,
                _ => ProcessState::Unseen,
            },
        }
    }

    /// The command that a member covers, if it does.
    pub fn covered(&self, map: &Map, owner: Owner) -> Option<Process> {
        let s = map.slot(owner.slot())?;
        let (pid, start) = (s.cover_pid.load(Acquire) as u32, s.cover_start.load(Relaxed));
        let (who, _) = self.who(map, owner)?;
        fence(Acquire);
        // Asked last: the slot may be somebody else's by now, and so is what that one covers.
        if pid == 0 || self.life(map, owner) == Life::Gone {
            return None;
        }
        let state = match sys::stat_of(pid) {
            _ if !sys::sees(who.pid_ns) => ProcessState::Unseen,
            Ok(Some(p)) if !sys::same_start(p.start, start) => ProcessState::Dead,
            Ok(Some(p)) if matches!(p.state, b'T' | b't') => ProcessState::Stopped,
            Ok(Some(p)) if matches!(p.state, b'Z' | b'X') => ProcessState::Dead,
            Ok(Some(_)) => ProcessState::Alive,
            Ok(None) if sys::is_gone(pid) => ProcessState::Dead,
            _ => ProcessState::Unseen,
        };
        Some(Process::new(pid, who.uid, who.command, state))
    }

    /// Whether a member shares the claim with this token.
    pub fn shares(&self, map: &Map, member: Owner, cell: u64, token: u64) -> bool {
        map.slot(member.slot()).is_some_and(|s| {
            s.join_cell.load(SeqCst) == cell && s.join_token.load(Acquire) == token && s.join_by.load(Acquire) == member.bits()
        })
    }

    /// The members that share the claim with this token, living ones first; the dead until their slots are used again.
    pub fn joiners(&self, map: &Map, cell: u64, token: u64, except: Owner) -> Vec<Owner> {
        let mut found: Vec<(bool, Owner)> = (0..map.slots())
            .filter_map(|i| {
                let main = map.row(i)?[0].load(Acquire);
                let o = Owner::new(i, generation(main));
                (o != except && main as u32 != 0 && self.shares(map, o, cell, token)).then_some((!is_alive(main), o))
            })
            .collect();
        found.sort_by_key(|(dead, _)| *dead);
        found.into_iter().map(|(_, o)| o).collect()
    }

    /// Whether a word in a CREATING state belongs to a creator that can never finish it.
    pub fn creator_is_gone(&self, map: &Map, state: State) -> bool {
        match state {
            State::Creating(o) => match self.life(map, o) {
                Life::Alive => false,
                Life::Gone => true,
                Life::Dead => self.gate_is_open(map, o.slot()),
            },
            _ => false,
        }
    }
}

/// Whether an entry of the morgue is whole; one that was never written is.
pub fn is_whole(d: &super::layout::Dead) -> bool {
    let key = d.key.load(Acquire);
    key == 0 || d.check.load(Acquire) == check(key, &d.identity)
}

fn check(key: u64, id: &Identity) -> u64 {
    hash(std::iter::once(key).chain(words(id)).flat_map(u64::to_le_bytes))
}

/// The 32-bit futex half of a row word.
fn row_word(word: &AtomicU64) -> &std::sync::atomic::AtomicU32 {
    // SAFETY: the low half of an aligned u64 on a little-endian machine; only accessed atomically, in this size by us and
    // by the kernel.
    unsafe { &*(futex::low(word)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_words() {
        let m = main_word(3, 0x01ff_ffff, 77);
        assert_eq!((epoch(m), generation(m)), (3, 0x00ff_ffff));
        assert!(is_alive(m) && !is_alive(m | OWNER_DIED as u64) && !is_alive(0));
        let w = AtomicU64::new(m);
        bury_other_epoch(&w, 3);
        assert_eq!(w.load(Relaxed), m);
        bury_other_epoch(&w, 4);
        assert!(!is_alive(w.load(Relaxed)) && generation(w.load(Relaxed)) == 0x00ff_ffff);
    }

    #[test]
    fn text_is_shortened_at_characters() {
        assert_eq!(shorten("make -j8", 20), "make -j8");
        assert_eq!(shorten("ääääääääää", 11).len(), 11);
        assert!(shorten(&"x".repeat(300), 135).ends_with("..."));
        assert_eq!(shorten("a\nb", 9), "a b");
    }
}
