//! Looking at everything that a namespace has stored, mending what is damaged, and beginning anew.
//!
//! | file | what |
//! |---|---|
//! | `open` | the file as it is, also where it cannot be opened for use |
//! | `view` | loads only, and nothing that was not taken from the file system |
//! | `head`, `slots`, `waits`, `index`, `cells`, `ledgers`, `texts`, `history` | one table each: what may be there |
//! | `flaw` | a finding, and the step that mends it |
//! | `mend` | repair: those steps |
//! | `reset` | a new namespace in the place of the old one |
//!
//! The look takes no lock, and others go on. So whatever is found is looked at again, a few times with growing pauses: what is
//! not the same then, down to the very bytes, was in the middle of an operation. A process may also be stopped there for ever; so
//! nothing is called damage that any step of any operation leaves.

mod cells;
mod flaw;
mod head;
mod history;
mod index;
mod ledgers;
mod mend;
mod open;
mod reset;
mod slots;
mod texts;
mod view;
mod waits;

use super::arena::Arena;
use super::file::Options;
use super::place::Place;
use crate::error::Result;
use crate::health::{Checkup, Repaired, Room, Severity};
pub use reset::{finish_reset, loss, reset, reset_by};

use flaw::Flaw;
use open::Looked;
use std::collections::HashSet;
use view::View;

/// Pauses between the looks, in milliseconds.
const PAUSES: [u64; 4] = [1, 3, 10, 30];

/// What is found at one look.
struct Look<'a> {
    flaws: Vec<Flaw<'a>>,
    semaphores: u64,
    members: u64,
    room: Vec<Room>,
}

fn look<'a>(view: &View<'a>) -> Look<'a> {
    let mut flaws = Vec::new();
    head::look(view, &mut flaws);
    if flaws.iter().any(|f| f.finding.severity == Severity::Damage) {
        // Nothing behind it would look right. Repair mends it, and looks again.
        return Look { flaws, semaphores: 0, members: 0, room: Vec::new() };
    }
    let members = slots::look(view, &mut flaws);
    waits::look(view, &mut flaws);
    let linked = index::look(view, &mut flaws);
    let semaphores = cells::look(view, &linked, &mut flaws);
    ledgers::look(view, &mut flaws);
    texts::look(view, &mut flaws);
    history::look(view, &mut flaws);
    let room = view.room(semaphores, members);
    Look { flaws, semaphores, members, room }
}

/// What is found at every look.
fn confirmed<'a>(view: &View<'a>) -> Look<'a> {
    let mut found = look(view);
    for pause in PAUSES {
        if found.flaws.is_empty() {
            break;
        }
        let keys: HashSet<_> = found.flaws.iter().map(|f| f.key).collect();
        super::sys::nap(std::time::Duration::from_millis(pause));
        found = look(view);
        found.flaws.retain(|f| keys.contains(&f.key));
    }
    found
}

fn checkup(look: Look<'_>) -> Checkup {
    let room = look.room;
    let found = Checkup::new(look.flaws.into_iter().map(|f| f.finding).collect(), look.semaphores, look.members);
    Checkup { room, ..found }
}

/// Checks a namespace that this process has open.
pub fn check(arena: &'static Arena) -> Checkup {
    checkup(confirmed(&View { map: &arena.map, members: &arena.members, id: arena.id() }))
}

/// Mends what can be mended in a namespace that this process has open.
pub fn repair(arena: &'static Arena) -> Repaired {
    mend::repair(arena)
}

/// The same for the file at a place, also where it cannot be opened: what keeps it from being opened is mended first.
pub fn repair_file(at: &Place) -> Result<Repaired> {
    // One that this process has open needs not be opened, which would be refused.
    if let Looked::Open(arena) = open::look_at(at)? {
        return Ok(repair(arena));
    }
    let first = open::make_usable(at)?;
    let options = Options { create: false, group: at.group.clone(), ..Options::default() };
    match Arena::open(&at.path, at.own, &options) {
        Ok(Some(arena)) => {
            let done = repair(arena);
            Ok(Repaired::new(first.into_iter().chain(done.mended).collect(), done.now))
        }
        // Gone since.
        Ok(None) => Err(open::none(at)),
        // What is left says why.
        Err(e) => match check_file(at)? {
            now if now.is_sound() => Err(e),
            now => Ok(Repaired::new(first, now)),
        },
    }
}

/// Checks the file at a place, without opening it for use: nothing is written, and this process becomes no member.
pub fn check_file(at: &Place) -> Result<Checkup> {
    match open::look_at(at)? {
        Looked::Open(arena) => Ok(check(arena)),
        Looked::Damaged(findings) => Ok(Checkup::new(findings, 0, 0)),
        Looked::File(file) => {
            let found = checkup(confirmed(&file.view()));
            let findings = file.findings.iter().cloned().chain(found.findings).collect();
            let all = Checkup { room: found.room, ..Checkup::new(findings, found.semaphores, found.members) };
            file.close();
            Ok(all)
        }
    }
}
