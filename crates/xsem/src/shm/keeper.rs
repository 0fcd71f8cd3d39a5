//! The keeper: one small thread per member process, through whose robust list the kernel tells the others of its death.
//!
//! The list's nodes lie in memory of the process's own (shared mapping: the OOM reaper leaves it alone; not inherited by
//! a forked child). The kernel finds each futex word at a constant distance from its node, so only the words are in the
//! namespace file, and damage there cannot lead the walk astray.

use super::arena::Arena;
use super::futex::{OWNER_DIED, TID_MASK};
use super::layout::{ROW_WORDS, UNIT};
use super::ledger;
use super::members::{generation, main_word};
use super::names;
use super::object::ShmExclusive;
use super::sharing;
use super::sys;
use super::word::{GENERATIONS, Owner, SLOTS, State, Word};
use crate::error::{Code, Error, Result};
use crate::sync::{Ordering::*, fence};
use std::sync::atomic::AtomicU64 as StdU64;

/// The kernel's `struct robust_list_head`, and the nodes.
#[repr(C)]
struct RobustList {
    list: StdU64,
    futex_offset: StdU64,
    pending: StdU64,
    _pad: [u64; 5],
    nodes: [StdU64; ROW_WORDS],
}

impl RobustList {
    /// A new list in memory that outlives everything but the process.
    fn new() -> Result<&'static RobustList> {
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        let len = size_of::<RobustList>();
        // SAFETY: a fresh mapping at an address of the kernel's choice disturbs nothing.
        let p = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
        if p == libc::MAP_FAILED {
            return Err(Error::new(Code::NotEnoughMemory, "no memory for the keeper")
                .because(std::io::Error::last_os_error())
                .advice("raise the limit on memory (`ulimit -v`, the cgroup's `memory.max`)"));
        }
        // SAFETY: the range was just mapped.
        unsafe { libc::madvise(p, len, libc::MADV_DONTFORK) };
        // SAFETY: page-aligned, zeroed (valid for atomics), large enough, and never unmapped.
        Ok(unsafe { &*p.cast::<RobustList>() })
    }

    fn head(&self) -> u64 {
        self as *const _ as u64
    }

    fn node(&self, i: usize) -> u64 {
        &self.nodes[i] as *const _ as u64
    }

    /// Makes it the calling thread's robust list, still empty.
    fn install(&self) -> Result<()> {
        self.list.store(self.head(), SeqCst);
        // SAFETY: the head is valid for the life of the process. The calling thread takes no robust pthread mutex (the
        // keeper runs nothing else), so glibc's own list of it may be replaced.
        let r = unsafe { libc::syscall(libc::SYS_set_robust_list, self.head(), 24usize) };
        if r != 0 {
            return Err(
                Error::new(Code::NotEnoughMemory, "the kernel takes no robust list")
                    .because(std::io::Error::last_os_error())
                    .advice("allow `set_robust_list` in the filter of system calls (seccomp): nobody would be told of this process's death"),
            );
        }
        Ok(())
    }

    /// Aims the list at a row; nothing of it is linked yet.
    fn aim(&self, row: *const crate::sync::AtomicU64) {
        self.list.store(self.head(), SeqCst);
        self.futex_offset.store((row as u64).wrapping_sub(self.node(0)), SeqCst);
    }

    /// Links the whole row, the main word first.
    fn link(&self) {
        for i in 0..ROW_WORDS {
            let next = if i + 1 < ROW_WORDS { self.node(i + 1) } else { self.head() };
            self.nodes[i].store(next, Relaxed);
        }
        fence(SeqCst);
        self.list.store(self.node(0), SeqCst);
    }
}

/// Registers with the calling thread as the keeper: a slot, the gate's lock, the identity. The thread must live as long
/// as the process.
pub fn register(arena: &'static Arena, who: &super::members::Who) -> Result<Owner> {
    let list = RobustList::new()?;
    list.install()?;
    let (slot, generation) = take_slot(arena, list)?;
    // Before anything is claimed: whoever sees this member die must be able to wait for its last write.
    arena.members.lock_gate(slot).map_err(|e| {
        Error::new(Code::NotEnoughMemory, "the gate file gives no lock")
            .because(e)
            .advice("raise the limit on file locks (`ulimit -x`)")
    })?;
    // Records of the previous incarnation come with the slot; nobody waits with them any more.
    super::waiters::adopt(&arena.map, slot);
    arena.members.introduce(&arena.map, slot, generation, who);
    tracing::debug!(slot, generation, "joined the namespace");
    Ok(Owner::new(slot, generation))
}

/// Takes a free slot, crash-safely: the main word is the list's pending entry before it is taken, so a death right after
/// the compare-and-swap still marks it.
fn take_slot(arena: &'static Arena, list: &RobustList) -> Result<(u32, u32)> {
    let map = &arena.map;
    let tid = sys::gettid() & TID_MASK;
    for attempt in 0..200 {
        let mut dying = 0;
        for i in 0..map.geo.max_members {
            if i >= map.slots() {
                let (slots, rows) = (map.geo.slots_at, map.geo.rows_at);
                map.ensure(rows + i as u64 * UNIT, UNIT)?;
                // Somebody else may have added this one or more.
                map.bump(&map.header().cursors.slots, i + 1, slots, 256)?;
            }
            let Some(row) = map.row(i) else { continue };
            let main = row[0].load(Acquire);
            if super::members::is_alive(main) {
                continue;
            }
            // Of who is being taken apart; or of a process that has the file which stood in this one's place, with the same gate.
            if arena.members.gate_is_locked(i).unwrap_or(false) {
                dying += 1;
                continue;
            }
            if main as u32 & OWNER_DIED != 0 {
                if !arena.members.gate_is_open(map, i) {
                    dying += 1;
                    continue;
                }
                arena.members.to_morgue(map, i, main);
                tell_join(arena, Owner::new(i, generation(main)));
            }
            let next = generation(main).wrapping_add(1) & 0x00ff_ffff;
            let epoch = map.header().epoch.load(Acquire) as u8;
            list.aim(&row[0]);
            list.pending.store(list.node(0), SeqCst);
            fence(SeqCst);
            if row[0].compare_exchange(main, main_word(epoch, next, tid), SeqCst, Relaxed).is_ok() {
                list.link();
                list.pending.store(0, SeqCst);
                sweep(arena, i, next);
                return Ok((i, next));
            }
            list.pending.store(0, SeqCst);
        }
        if dying == 0 {
            break;
        }
        super::sys::nap(std::time::Duration::from_micros(100 << (attempt / 20).min(6)));
    }
    let n = map.geo.max_members;
    Err(Error::new(Code::SemUserLimit, format!("{n} processes are members of the namespace, which is its limit"))
        .advice("end some of them, or use another namespace (`--namespace shm:NAME`) or a larger limit"))
}

/// The claim that a dead member shared, if it did, learns of its death before the slot is used again.
fn tell_join(arena: &'static Arena, dead: Owner) {
    let Some(s) = arena.map.slot(dead.slot()) else { return };
    let target = s.join_cell.load(Acquire);
    let (generation, Some(index)) = ((target >> 32) as u32, (target as u32).checked_sub(1)) else { return };
    if let Some(sem) = ShmExclusive::unnamed(arena, index, generation) {
        sharing::tell(&sem, dead);
    }
}

/// Ends the claims that are left of the slot's past when the short generations in words come round: those would look like
/// claims of the new incarnation. The caller holds the slot and has claimed nothing yet, so every claim of the slot is of
/// the past. Who dies in the middle leaves `swept` as it was, and the next one begins again.
fn sweep(arena: &'static Arena, slot: u32, now: u32) {
    let round = (now / GENERATIONS) as u64 + 1;
    let Some(s) = arena.map.slot(slot) else { return };
    if s.swept.load(Acquire) == round {
        return;
    }
    // A slot that was never used has no past.
    let cells = if s.swept.load(Acquire) == 0 && now == 1 { 0 } else { arena.map.cells() };
    for i in 0..cells {
        let Some(cell) = arena.map.cell(i) else { continue };
        let mut w = Word(cell.word.load(Acquire));
        while let State::Tentative(_) = w.state() {
            names::settle(arena, cell, w);
            w = Word(cell.word.load(Acquire));
        }
        match w.state() {
            State::Owned(o) if o.slot() == slot => {
                if let Some(sem) = ShmExclusive::unnamed(arena, i, w.generation()) {
                    sem.end_past_claim(o);
                }
            }
            State::Creating(o) if o.slot() == slot => names::recover_as(arena, i, w, Owner::new(slot, now)),
            _ => {}
        }
    }
    let entries = if cells == 0 { 0 } else { arena.map.entries() };
    for i in 0..entries {
        let Some(e) = arena.map.entry(i) else { continue };
        let target = e.target.load(Acquire);
        let (Some(past), Some(index)) = (ledger::owner_of(e), (target as u32).checked_sub(1)) else { continue };
        if past.slot() == slot
            && let Some(sem) = ShmExclusive::unnamed(arena, index, (target >> 32) as u32)
        {
            sem.book().end_of_dead(i, e, past);
        }
    }
    s.swept.store(round, Release);
}

const _: () = assert!(SLOTS as usize >= ROW_WORDS);
