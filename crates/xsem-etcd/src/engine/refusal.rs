//! What those are told whose request is refused or over.

use super::client::Inner;
use super::commit::Trouble;
use super::object::EtcdObject;
use super::record::{Entry, Record, Ticket, Wish};
use super::request::{MAX_DEPTH, Wanted, ended};
use super::view;
use super::world::{People, World};
use std::collections::BTreeSet;
use xsem::engine::{Object, Request, Until};
use xsem::{Code, Edge, Error, Kind};

fn text(list: &[Wanted<'_>]) -> String {
    list.iter().map(|(o, _)| format!("`{}`", o.text())).collect::<Vec<_>>().join(", ")
}

fn first<'a>(list: &[Wanted<'a>]) -> &'a str {
    list.first().map_or("", |(o, _)| o.text())
}

fn is_event(list: &[Wanted<'_>]) -> bool {
    matches!(list, [(o, _)] if o.kind() == Kind::Event)
}

impl Inner {
    /// The store did not answer in time: 121 where the caller has said how long to wait, 95 for one that was cancelled; else why.
    pub fn unanswered(&self, list: &[Wanted<'_>], request: &Request<'_>) -> Error {
        if ended(request) {
            return cancelled(list);
        }
        let e = self.error(Trouble::Silent, &format!("a request for {}", text(list)));
        match request.until {
            Until::Deadline(_) => Error::new(Code::SemTimeout, e.message()).of(first(list)).advice(e.next_step()),
            _ => e.of(first(list)),
        }
    }
}

/// 95.
pub fn cancelled(list: &[Wanted<'_>]) -> Error {
    Error::new(Code::Interrupt, format!("the wait for {} was cancelled", text(list))).of(first(list))
}

/// 87.
pub fn too_many(object: &EtcdObject, permits: u32, limit: u32) -> Error {
    Error::new(Code::InvalidParameter, format!("{permits} permits of `{}`", object.text()))
        .of(object.text())
        .advice(format!("ask for 1 to {limit}, which is the limit"))
}

/// 103.
pub fn too_deep(object: &EtcdObject) -> Error {
    Error::new(Code::TooManySemRequests, format!("`{}` is nested {MAX_DEPTH} deep, which is the limit", object.text()))
        .of(object.text())
        .advice("release as often as you acquire")
}

/// 102.
pub fn drained(object: &EtcdObject, rec: &Record, alive: Option<&People>) -> Error {
    Error::new(Code::SemIsSet, format!("`{}` is being drained and takes no new requests", object.text()))
        .of(object.text())
        .held_by(view::holders(rec, alive))
        .behind(view::waiters(rec, alive, None))
        .advice("wait until it is reopened")
}

/// 121.
pub fn late(list: &[Wanted<'_>], ticket: &Ticket, w: Option<&World>) -> Error {
    let what = if is_event(list) { "signalled" } else { "free" };
    refusal(Code::SemTimeout, format!("{} was not {what} in time", text(list)), list, ticket, w)
}

/// 101, or 121 where it is not one exclusive semaphore.
pub fn taken(list: &[Wanted<'_>], ticket: &Ticket, w: &World) -> Error {
    let exclusive = list.len() == 1 && ticket.wish == Wish::One && list[0].0.is_exclusive();
    let (code, what) = match exclusive {
        true => (Code::ExclSemAlreadyOwned, format!("{} is owned by another claimant, or kept for one", text(list))),
        false if is_event(list) => (Code::SemTimeout, format!("{} is not signalled", text(list))),
        false => (Code::SemTimeout, format!("there are not enough free permits of {}", text(list))),
    };
    refusal(code, what, list, ticket, Some(w))
}

/// 1131.
pub fn endless(cycle: &[Edge]) -> Error {
    Error::new(Code::PossibleDeadlock, "this wait could never end")
        .of(cycle.first().map_or("", |e| e.name.as_str()))
        .closing(cycle.to_vec())
        .advice("release what the others wait for, or wait with a time limit")
}

fn refusal(code: Code, what: String, list: &[Wanted<'_>], ticket: &Ticket, w: Option<&World>) -> Error {
    let (mut holders, mut ahead) = (Vec::new(), Vec::new());
    let names: BTreeSet<&str> = ticket.list.iter().map(|e| e.name.as_str()).collect();
    for (w, name) in names.into_iter().filter_map(|n| Some((w?, n))) {
        if let Some(rec) = w.get(name) {
            holders.extend(view::holders(rec, w.alive.as_ref()));
            ahead.extend(view::waiters(rec, w.alive.as_ref(), Some(ticket)));
        }
    }
    let busy = |e: &Entry| e.nests.is_none() && w.and_then(|w| w.get(&e.name)).is_some_and(|rec| rec.free() < e.permits);
    let at: Vec<usize> = match ticket.wish {
        Wish::One => Vec::new(),
        _ => ticket.list.iter().enumerate().filter(|(_, e)| busy(e)).map(|(i, _)| i).collect(),
    };
    let e = Error::new(code, what).of(first(list)).held_by(holders).behind(ahead).at(at);
    e.advice("wait longer, or see what the holder does")
}

/// The kind of a record that does not fit.
pub fn wrong_kind(name: &str, is: Kind, want: Kind) -> Error {
    Error::new(Code::InvalidHandle, format!("`{name}` is of kind {is}, not {want}"))
        .of(name)
        .advice("use another name, or the operations of its kind")
}
