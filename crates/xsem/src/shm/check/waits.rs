//! Wait records: each in the list of its slot, once, and with fields that can be.

use super::super::layout::Waiter;
use super::super::line::FOLLOWED;
use super::super::waiters::{ALL, ANY, DEADLINE, INCOMPLETE};
use super::super::word::Owner;
use super::flaw::{Flaw, Mend};
use super::view::View;
use crate::sync::{AtomicU32, Ordering::*};

/// All that there are.
const FLAGS: u32 = DEADLINE | ANY | ALL | INCOMPLETE | FOLLOWED;

pub fn look<'a>(view: &View<'a>, out: &mut Vec<Flaw<'a>>) {
    let n = view.waiters();
    let mut reached = vec![false; n as usize];
    for i in 0..view.map.slots() {
        if let Some((slot, _)) = view.slot(i) {
            list(view, i, &slot.waiters, &mut reached, out);
        }
    }
    for (i, reached) in (0..n).zip(reached) {
        let Some(w) = view.waiter(i) else { continue };
        fields(view, i, w, out);
        if !reached {
            unlinked(view, i, w, out);
        }
    }
}

/// Walks the list of a slot.
fn list<'a>(view: &View<'a>, slot: u32, head: &'a AtomicU32, reached: &mut [bool], out: &mut Vec<Flaw<'a>>) {
    let mut from = head;
    loop {
        let seen = from.load(Acquire);
        let Some(i) = seen.checked_sub(1) else { return };
        let why = match (view.waiter(i), reached.get_mut(i as usize)) {
            (Some(w), Some(r)) if !*r => {
                *r = true;
                from = &w.next;
                continue;
            }
            // Taken since the table was measured.
            (Some(_), None) => return,
            (Some(_), Some(_)) => "runs in a circle, or into another one",
            (None, _) => "leads to a record that does not exist",
        };
        out.push(
            Flaw::damage("waiters", slot, seen as u64, format!("the list of the wait records of slot {slot} {why}"))
                .mend("the list ends there; what was behind is put back", Mend::Swap32(from, seen, 0)),
        );
        return;
    }
}

fn unlinked<'a>(view: &View<'a>, i: u32, w: &'a Waiter, out: &mut Vec<Flaw<'a>>) {
    let who = w.who.load(Acquire);
    match Owner::from_bits((who >> 32) as u32).filter(|o| o.slot() < view.map.slots()) {
        // It has been used, so it was in the list of this slot.
        Some(o) => out.push(
            Flaw::damage("waiters", i, who, "a wait record is in no list")
                .expected(format!("the list of slot {}", o.slot()))
                .mend("it is put back", Mend::Record { record: i, slot: Some(o.slot()) }),
        ),
        None if w.busy.load(Acquire) != 0 => out.push(
            Flaw::leak("waiters", i, who, "a wait record is in no list: who took it has died, or is just about to use it")
                .mend("it is given to a member", Mend::Record { record: i, slot: None })
                .alone(),
        ),
        None => {}
    }
}

fn fields<'a>(view: &View<'a>, i: u32, w: &'a Waiter, out: &mut Vec<Flaw<'a>>) {
    let (target, busy) = (w.target.load(Acquire), w.busy.load(Acquire));
    let exists = |t: u64| (t as u32).checked_sub(1).and_then(|c| view.cell(c)).is_some();
    // A wait that ends says so before it gives the record back.
    if target != 0 && (!exists(target) || busy == 0) && w.target.load(Acquire) == target {
        let text = if exists(target) {
            "says what it waits for, and is not in use"
        } else {
            "waits for a semaphore that does not exist"
        };
        out.push(
            Flaw::damage("waiters", i, target, format!("a wait record {text}"))
                .mend("it waits for nothing", Mend::Swap(vec![(&w.target, target, 0)])),
        );
    }
    let all: [(&'a AtomicU32, u32, bool, &str); 3] = [
        (&w.busy, 1, busy > 1, "its use is neither yes nor no"),
        (&w.flags, w.flags.load(Acquire) & FLAGS, w.flags.load(Acquire) > FLAGS, "it has flags that do not exist"),
        (&w.group, i + 1, w.group.load(Acquire) > view.waiters(), "it belongs to a wait that does not exist"),
    ];
    for (word, right, is_wrong, text) in all {
        let seen = word.load(Acquire);
        if is_wrong && seen != right {
            out.push(Flaw::damage("waiters", i, seen as u64, text).mend("it is put right", Mend::Swap32(word, seen, right)));
        }
    }
}
