//! The history and the incidents: nothing depends on them, so whatever is wrong there costs records and no more.

use super::super::history;
use super::super::layout::{INCIDENTS, MAX_HISTORY, Record};
use super::super::ring;
use super::flaw::{Flaw, Mend};
use super::view::View;
use crate::sync::{AtomicU64, Ordering::*};

pub fn look<'a>(view: &View<'a>, out: &mut Vec<Flaw<'a>>) {
    let h = view.map.history();
    let state = h.state.load(Acquire);
    if !history::is_state(state) {
        out.push(
            Flaw::damage("history", 0u32, state, "its state cannot be")
                .expected("on or off, and for how many records there is room")
                .mend("it is switched off", Mend::Swap(vec![(&h.state, state, 0)])),
        );
        return;
    }
    let (at, len) = (view.map.geo.history_at, (state >> 8) * size_of::<Record>() as u64);
    if (0..len).step_by(super::super::layout::UNIT as usize).any(|k| !view.map.is_present(at + k)) {
        let gone = Flaw::damage("history", 1u32, state, "the room for its records is not there");
        out.push(gone.mend("room is taken for them", Mend::Room { at, len }));
    }
    records("history", &h.next, (0..MAX_HISTORY).filter_map(|i| view.map.record(i)), out);
    records("incidents", &h.next_incident, (0..INCIDENTS).map(|i| view.map.incident(i)), out);
}

fn records<'a>(table: &'static str, next: &'a AtomicU64, all: impl Iterator<Item = &'a Record>, out: &mut Vec<Flaw<'a>>) {
    let mut latest = None;
    for (i, e) in (0u64..).zip(all) {
        let stamp = e.stamp.load(Acquire);
        match (ring::position(stamp), ring::read(e)) {
            (Some(_), None) if e.stamp.load(Acquire) == stamp => {
                let seen = e.check.load(Relaxed) ^ stamp;
                out.push(
                    Flaw::damage(table, i, seen, "a record is not as it was written")
                        .mend("it is dropped", Mend::Swap(vec![(&e.stamp, stamp, 0)])),
                );
            }
            (_, Some((at, _))) => latest = latest.max(Some(at)),
            _ => {}
        }
    }
    // Read after the records: who writes one has counted it before.
    let seen = next.load(Acquire);
    if let Some(at) = latest.filter(|at| seen & (u64::MAX >> 1) <= *at) {
        let all = u64::from(u32::MAX);
        out.push(
            Flaw::damage(table, all, seen, format!("there are records up to the position {at}, and the next one is {seen}"))
                .mend("it goes on behind them", Mend::Swap(vec![(next, seen, at + 1)])),
        );
    }
}
