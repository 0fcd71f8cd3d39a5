//! Members: whether they live as their words say, who they are, what they share; and the morgue.

use super::super::futex::TID_MASK;
use super::super::joint;
use super::super::layout::{JOINT, MORGUE, Slot};
use super::super::map::Row;
use super::super::members::{self, Who, generation, is_alive, main_word};
use super::super::sys;
use super::super::word::Owner;
use super::flaw::{Flaw, Mend};
use super::view::View;
use crate::sync::Ordering::*;

/// Looks at all; how many live.
pub fn look<'a>(view: &View<'a>, out: &mut Vec<Flaw<'a>>) -> u64 {
    let mut alive = 0;
    for i in 0..view.map.slots() {
        let Some((slot, row)) = view.slot(i) else { continue };
        let main = row[0].load(Acquire);
        alive += is_alive(main) as u64;
        life(view, i, row, main, out);
        fields(view, i, slot, out);
        joint(view, i, out);
    }
    for i in 0..MORGUE {
        let d = view.map.dead(i);
        let key = d.key.load(Acquire);
        if !members::is_whole(d) && d.key.load(Acquire) == key {
            out.push(
                Flaw::damage("morgue", i, key, "an identity that is torn or damaged")
                    .expected("who a dead member was")
                    .mend("it is forgotten", Mend::Swap(vec![(&d.key, key, 0)])),
            );
        }
    }
    alive
}

/// Compares a main word with the lock in the gate, which is the kernel's.
fn life<'a>(view: &View<'a>, i: u32, row: &'a Row, main: u64, out: &mut Vec<Flaw<'a>>) {
    let (map, m) = (view.map, view.members);
    let epoch = map.header().epoch.load(Acquire) as u8;
    let Ok(holder) = m.lock_holder(i) else { return };
    let identity = m.identity_in_slot(map, i);
    let known = identity.as_ref().filter(|(g, _)| *g == generation(main)).map(|(_, who)| who);
    // The caller's own locks are not told.
    let holder = holder.or_else(|| known.filter(|w| w.pid == std::process::id() && is_alive(main)).map(|w| w.pid));
    let who = known.map_or_else(|| format!("process {}", holder.unwrap_or(0)), |w| format!("process {} `{}`", w.pid, w.command));
    match holder {
        None if is_alive(main) && known.is_some_and(|w| sys::sees(w.pid_ns)) && m.gate_is_open(map, i) => out.push(
            Flaw::damage("slots", i, main, format!("{who} is gone, and its slot says that it lives"))
                .expected("dead")
                .mend("it is told dead, as the kernel would have", Mend::Bury { slot: i, main }),
        ),
        Some(pid) if is_alive(main) && (members::epoch(main) != epoch || is_impossible(main, identity.as_ref(), pid)) => {
            let named = identity.as_ref().filter(|(_, w)| w.pid == pid).map_or(generation(main), |(g, _)| *g);
            let right = main_word(epoch, named, main as u32);
            out.push(
                Flaw::damage(
                    "slots",
                    i,
                    main,
                    format!("process {pid} lives, and its slot says that it is another one, or of another epoch"),
                )
                .mend("it is that process's again", Mend::Swap(vec![(&row[0], main, right)])),
            );
        }
        Some(pid) if is_alive(main) && known.is_none() => {
            let flaw = Flaw::note("slots", i, main, format!("{who} has the slot, and it does not say who it is"));
            out.push(match pid {
                0 => flaw.by_itself("it is registering, or it is in another pid namespace"),
                pid => flaw.mend("who it is is written again", Mend::Introduce { slot: i, main, pid }),
            });
        }
        Some(pid) if !is_alive(main) && pid != 0 && runs(pid) && m.lock_holder(i).ok().flatten() == Some(pid) => {
            let flaw = Flaw::damage("slots", i, main, format!("process {pid} lives, and its slot says that it is dead"))
                .expected("alive");
            // A dead member is told so by its keeper's end.
            let Some(mut keepers) = sys::threads_named(pid, "xsem-keeper").filter(|k| !k.is_empty()) else { return };
            if keepers.len() > 1 {
                // One for each namespace that it has open. Who watches this member has written down which.
                keepers.retain(|tid| row[1..].iter().any(|w| w.load(Acquire) as u32 & TID_MASK == *tid));
            }
            let named = identity.filter(|(_, w)| w.pid == pid).map(|(g, _)| g);
            out.push(match (keepers.as_slice(), named) {
                ([tid], Some(g)) => {
                    let right = main_word(epoch, g, *tid);
                    flaw.mend("it is told alive again", Mend::Swap(vec![(&row[0], main, right)]))
                }
                _ => flaw.person(format!("its claims cannot be told from those of the dead: end process {pid}")),
            });
        }
        _ => {}
    }
}

/// Whether a main word cannot be that of the process which has the lock: it has introduced itself in this slot with another
/// generation, and is not about to introduce itself with the next one, as after an exec.
fn is_impossible(main: u64, identity: Option<&(u32, Who)>, pid: u32) -> bool {
    identity.is_some_and(|(g, w)| w.pid == pid && generation(main) != *g && generation(main) != g.wrapping_add(1) & 0x00ff_ffff)
}

fn runs(pid: u32) -> bool {
    sys::stat_of(pid).is_ok_and(|s| s.is_some_and(|s| !matches!(s.state, b'Z' | b'X' | b'x')))
}

/// What a member says beside who it is.
fn fields<'a>(view: &View<'a>, i: u32, s: &'a Slot, out: &mut Vec<Flaw<'a>>) {
    let owner = |bits: u32| bits == 0 || Owner::from_bits(bits).is_some_and(|o| o.slot() < view.map.slots());
    let join = s.join_cell.load(Acquire);
    if join != 0 && join != u64::MAX && (join as u32).checked_sub(1).and_then(|c| view.cell(c)).is_none() {
        out.push(
            Flaw::damage("slots", i, join, "it shares a claim on a semaphore that does not exist")
                .mend("it shares nothing", Mend::Swap(vec![(&s.join_cell, join, 0)])),
        );
    }
    let cover = s.cover_pid.load(Acquire);
    if cover > i32::MAX as u64 {
        out.push(
            Flaw::damage("slots", i, cover, "it covers a process with an impossible number")
                .mend("it covers nothing", Mend::Swap(vec![(&s.cover_pid, cover, 0)])),
        );
    }
    let inside = s.inside.load(Acquire);
    if !owner((inside >> 32) as u32) || !owner(inside as u32) {
        out.push(
            Flaw::damage("slots", i, inside, "it runs inside of a member that cannot be")
                .mend("it runs inside of nobody's command", Mend::Swap(vec![(&s.inside, inside, 0)])),
        );
    }
    for (word, text) in [(&s.join_by, "joined"), (&s.join_told, "told")] {
        let seen = word.load(Acquire);
        if !owner(seen) {
            out.push(
                Flaw::damage("slots", i, seen as u64, format!("a member that cannot be is said to have {text}"))
                    .mend("nobody is", Mend::Swap32(word, seen, 0)),
            );
        }
    }
}

/// A joint request that cannot be.
fn joint<'a>(view: &View<'a>, i: u32, out: &mut Vec<Flaw<'a>>) {
    let Some(j) = view.map.joint(i) else { return };
    let (state, len) = (j.state.load(Acquire), j.len.load(Acquire));
    if !joint::is_state(state) {
        let failed = joint::failed(state);
        out.push(
            Flaw::damage("joints", i, state, "a joint request is neither open nor over")
                .mend("it has failed", Mend::Swap(vec![(&j.state, state, failed)])),
        );
    }
    if len > JOINT as u64 {
        out.push(
            Flaw::damage("joints", i, len, format!("a joint request for {len} semaphores"))
                .expected(format!("at most {JOINT}"))
                .mend("none of them counts", Mend::Swap(vec![(&j.len, len, 0)])),
        );
    }
}
