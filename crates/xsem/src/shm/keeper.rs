//! The keeper: one small thread per member process, through whose robust list the kernel tells the others of its death.
//!
//! The list's nodes lie in memory of the process's own (shared mapping: the OOM reaper leaves it alone; not inherited by
//! a forked child). The kernel finds each futex word at a constant distance from its node, so only the words are in the
//! namespace file, and damage there cannot lead the walk astray.

use super::arena::Arena;
use super::futex::{OWNER_DIED, TID_MASK};
use super::layout::{ROW_WORDS, UNIT};
use super::members::{generation, main_word};
use super::names;
use super::obituary;
use super::sys;
use super::word::{GENERATIONS, Owner, SLOTS, State, Word};
use crate::claim::Cause;
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
            return Err(Error::new(Code::NotEnoughMemory, "no memory for the keeper").because(std::io::Error::last_os_error()));
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
                Error::new(Code::NotEnoughMemory, "the kernel takes no robust list").because(std::io::Error::last_os_error())
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
pub fn register(arena: &Arena, who: &super::members::Who) -> Result<Owner> {
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
fn take_slot(arena: &Arena, list: &RobustList) -> Result<(u32, u32)> {
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
            if main as u32 & OWNER_DIED != 0 {
                if !arena.members.gate_is_open(map, i) {
                    dying += 1;
                    continue;
                }
                arena.members.to_morgue(map, i, main);
                settle_join(arena, i, main);
            }
            let next = generation(main).wrapping_add(1) & 0x00ff_ffff;
            if next.is_multiple_of(GENERATIONS) || next == 0 {
                // The short generation in words comes round: claims of that far past must not look alive.
                sweep(arena, i);
            }
            let epoch = map.header().epoch.load(Acquire) as u8;
            list.aim(&row[0]);
            list.pending.store(list.node(0), SeqCst);
            fence(SeqCst);
            if row[0].compare_exchange(main, main_word(epoch, next, tid), SeqCst, Relaxed).is_ok() {
                list.link();
                list.pending.store(0, SeqCst);
                return Ok((i, next));
            }
            list.pending.store(0, SeqCst);
        }
        if dying == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_micros(100 << (attempt / 20).min(6)));
    }
    let n = map.geo.max_members;
    Err(Error::new(Code::SemUserLimit, format!("{n} processes are members of the namespace, which is its limit"))
        .advice("end some of them, or use another namespace (`--namespace shm:NAME`) or a larger limit"))
}

/// A member that shared somebody's claim has died: the claim goes on, but with the mark.
fn settle_join(arena: &Arena, slot: u32, main: u64) {
    let Some(s) = arena.map.slot(slot) else { return };
    let (target, token) = (s.join_cell.load(Acquire), s.join_token.load(Relaxed));
    let Some(index) = (target as u32).checked_sub(1) else { return };
    let Some(cell) = arena.map.cell(index) else { return };
    let dead = Owner::new(slot, generation(main));
    loop {
        let w = Word(cell.word.load(Acquire));
        // Where the dead member had become the owner itself, its successor says so.
        if w.owner().is_none_or(|o| o == dead) || w.generation() != (target >> 32) as u32 || cell.token.load(Relaxed) != token {
            break;
        }
        obituary::publish(arena, index, dead, token, Cause::ProcessEnded);
        if cell.word.compare_exchange(w.0, w.with(super::word::MARK).0, AcqRel, Relaxed).is_ok() {
            break;
        }
    }
    s.join_cell.store(0, Release);
}

/// Ends every claim that an earlier incarnation of a slot has left, whatever its generation. The slot is dead and its
/// gate is open, so each of them is over.
fn sweep(arena: &Arena, slot: u32) {
    for i in 0..arena.map.cells() {
        let Some(cell) = arena.map.cell(i) else { continue };
        loop {
            let w = Word(cell.word.load(Acquire));
            match w.state() {
                State::Owned(o) if o.slot() == slot => {
                    obituary::publish(arena, i, o, cell.token.load(Relaxed), Cause::ProcessEnded);
                    let free = w.freed(super::word::RESERVED).with(super::word::MARK);
                    if cell.word.compare_exchange(w.0, free.0, AcqRel, Relaxed).is_ok() {
                        super::futex::wake_all(super::futex::low(&cell.word));
                        break;
                    }
                }
                State::Creating(o) if o.slot() == slot => {
                    names::recover(arena, i, w);
                    break;
                }
                _ => break,
            }
        }
    }
}

const _: () = assert!(SLOTS as usize >= ROW_WORDS);
