//! Sharing a claim: nested `xsem run`s of one name hold it together, and it ends with the last of them.
//!
//! A joiner publishes its join in its own slot and *then* sees to it that JOINED is set in the word, always by a
//! compare-and-swap, so that the order holds on every machine. Whoever ends the claim clears JOINED, *then* looks for
//! joins, then swaps the word: a join that was published after the look sets JOINED again and makes that swap fail.

use super::members::{Life, generation};
use super::object::{Changed, ShmExclusive};
use super::protocol::Gate;
use super::word::{CLOSING, INHERITED, JOINED, MARK, Owner, Word};
use crate::claim::Cause;
use crate::engine::{Claim, Ending};
use crate::error::{Code, Error, Result};
use crate::sync::Ordering::*;

/// A join that is being written; no cell has this target.
const RESERVED: u64 = u64::MAX;

/// Joins the claim with this token for `me`. False: it is over.
pub fn join(sem: &ShmExclusive, me: Owner, token: u64) -> Result<bool> {
    let Some(slot) = sem.arena.map.slot(me.slot()) else { return Ok(false) };
    if slot.join_cell.compare_exchange(0, RESERVED, AcqRel, Relaxed).is_err() {
        return Err(Error::new(Code::TooManySemRequests, "this process shares a claim already")
            .advice("leave that one first: a process shares one claim at a time"));
    }
    slot.join_token.store(token, Release);
    slot.join_by.store(me.bits(), Release);
    slot.join_cell.store(sem.target(), SeqCst);
    let mut patience = 100;
    loop {
        let w = sem.load();
        let owner = w.owner().filter(|_| w.generation() == sem.generation && !w.has(CLOSING));
        match owner {
            // Somebody who ended it has seen our join and passed it on; or another thread of this process owns it.
            Some(o) if o == me && w.has(INHERITED) => return Ok(true),
            Some(o) if o != me => match standing(sem, o, token) {
                // It was booked a moment ago: the owner is at its end, or in the next claim.
                Standing::Current if sem.change(w, w.with(JOINED)) != Changed::Yes => std::thread::yield_now(),
                Standing::Current if standing(sem, o, token) == Standing::Current => {
                    tracing::debug!(token, "shares a claim");
                    return Ok(true);
                }
                // It moved on in between: look again who has it now.
                Standing::Current => {}
                // An instant of its owner's acquire or release.
                Standing::Unbooked if patience > 0 => {
                    patience -= 1;
                    std::thread::yield_now();
                }
                _ => break,
            },
            _ => break,
        }
    }
    leave(sem, me, token, Ending::Release)?;
    Ok(false)
}

/// How a claim with a token stands with its owner.
#[derive(PartialEq, Eq)]
enum Standing {
    Current,
    Unbooked,
    Over,
}

fn standing(sem: &ShmExclusive, owner: Owner, token: u64) -> Standing {
    let cell = sem.cell();
    let claim = cell.claim.load(Acquire);
    // `claim` is cleared before a release and written after an acquire; an heir has not acquired it, but shares it.
    let booked = (claim >> 32) as u32 == owner.bits() || sem.arena.members.shares(&sem.arena.map, owner, sem.target(), token);
    match cell.token.load(Acquire) == token {
        false => Standing::Over,
        true if booked => Standing::Current,
        true => Standing::Unbooked,
    }
}

/// Sets JOINED, also where it is set: the write itself is what orders our join before the look of whoever ends the claim. The owner of a
/// claim that is shared does not give it back plainly; that of another claim may overlook this, which does no harm.
fn set_joined(sem: &ShmExclusive, w: Word) -> bool {
    sem.cell().word.compare_exchange(w.0, w.with(JOINED).0, SeqCst, Relaxed).is_ok()
}

/// Stops sharing the claim; ends it where it has been passed to `me`.
pub fn leave(sem: &ShmExclusive, me: Owner, token: u64, ending: Ending) -> Result<()> {
    let mark = matches!(ending, Ending::Abandon(_));
    if let Ending::Abandon(cause) = ending {
        sem.bury(me, token, cause, || true);
        loop {
            let w = sem.load();
            if w.generation() != sem.generation || w.owner().is_none() || w.has(CLOSING) {
                break;
            }
            // Unclear: that is no claim which is shared.
            if sem.change(w, w.with(MARK)) != Changed::Lost {
                break;
            }
        }
    }
    if let Some(s) = sem.arena.map.slot(me.slot()) {
        s.join_cell.store(0, SeqCst);
    }
    // The owner may be about to pass the claim to us, having seen our join. Whoever passes it has cleared JOINED before
    // it looked, so setting JOINED makes it look again; unless it has passed it already. After CLOSING nobody passes.
    loop {
        let w = sem.load();
        match w.owner() {
            Some(o) if o == me && w.generation() == sem.generation && w.has(INHERITED) && !w.has(CLOSING) => {
                let claim = Claim::new(token, 0);
                let note = sem.arena.is_recorded().then(|| sem.over(&claim));
                sem.end(me, mark);
                if let Some(note) = note.filter(|_| !mark) {
                    sem.note(note);
                }
                return Ok(());
            }
            Some(o) if o != me && w.generation() == sem.generation && !w.has(CLOSING) => {
                if set_joined(sem, w) {
                    return Ok(());
                }
            }
            _ => return Ok(()),
        }
    }
}

/// Who the claim with this token goes on with, except `except`: a member that lives, or one that is dead but whose gate is
/// closed (its own successor then waits for that). Deaths of sharers that are quite over are told on the way.
pub fn heir(sem: &ShmExclusive, token: u64, except: Owner) -> Option<Owner> {
    let (map, members) = (&sem.arena.map, &sem.arena.members);
    members.joiners(map, sem.target(), token, except).into_iter().find(|&joiner| match members.life(map, joiner) {
        Life::Alive => true,
        Life::Dead if members.gate(map, joiner.slot()) != Gate::Open => true,
        Life::Dead => {
            tell(sem, joiner);
            false
        }
        Life::Gone => false,
    })
}

/// Tells the death of a member, past its gate, that shared somebody's claim: the claim goes on, with the mark. Whoever
/// uses the slot again does this first, and whoever ends the claim.
pub fn tell(sem: &ShmExclusive, dead: Owner) {
    let map = &sem.arena.map;
    let (Some(s), Some(row)) = (map.slot(dead.slot()), map.row(dead.slot())) else { return };
    let token = s.join_token.load(Acquire);
    if !sem.arena.members.shares(map, dead, sem.target(), token) || s.join_told.load(Acquire) == dead.bits() {
        return;
    }
    loop {
        let w = sem.load();
        // Where the dead member had become the owner itself, its successor says so.
        let over = w.owner().is_none_or(|o| o == dead) || w.generation() != sem.generation || w.has(CLOSING);
        if over || sem.cell().token.load(Relaxed) != token {
            break;
        }
        // Somebody else was faster, and the slot may be in use again.
        if !dead.is_generation(generation(row[0].load(Acquire))) {
            return;
        }
        sem.bury(dead, token, Cause::ProcessEnded, || s.join_told.load(Acquire) != dead.bits());
        // Unclear: that is no claim which is shared.
        if sem.change(w, w.with(MARK)) != Changed::Lost {
            break;
        }
    }
    s.join_told.store(dead.bits(), Release);
}
