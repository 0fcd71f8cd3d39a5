//! The errors of this engine, in one place, with the words that the shared-memory engine has for them.

use super::request::MAX_DEPTH;
use super::state::Sem;
use crate::claim::{Edge, Holder, Kind, Waiter};
use crate::engine::MAX_PERMITS;
use crate::error::{Code, Error};
use crate::name::Name;

fn error(code: Code, name: &Name, what: String) -> Error {
    Error::new(code, what).of(name.as_str())
}

pub(super) fn not_found(name: &Name, url: &str) -> Error {
    error(Code::SemNotFound, name, format!("there is no semaphore `{name}` in {url}"))
        .advice("create it, or use open_or_create; `Namespace::list` tells those that there are")
}

pub(super) fn exists(name: &Name) -> Error {
    error(Code::AlreadyExists, name, format!("`{name}` exists already")).advice("open it, or use open_or_create")
}

pub(super) fn no_room(name: &Name, max: usize) -> Error {
    error(Code::TooManySemaphores, name, format!("the namespace has room for {max} semaphores, and has that many"))
        .advice("remove some, or open the namespace with a larger `max_semaphores`")
}

pub(super) fn other_kind(name: &Name, is: Kind, wanted: Kind) -> Error {
    error(Code::InvalidHandle, name, format!("`{name}` is of kind {is}, not {wanted}"))
        .advice("use another name, or the operations of its kind")
}

pub(super) fn differs(name: &Name, is: &str, wanted: &str) -> Error {
    error(Code::InvalidParameter, name, format!("`{name}` is {is}, and {wanted} was asked for"))
        .advice("ask for what it is, resize it, or use another name")
}

pub(super) fn no_handle() -> Error {
    Error::new(Code::InvalidHandle, "this handle is closed, or of the process that this one was forked from")
        .advice("open the semaphore again")
}

pub(super) fn polled_again() -> Error {
    Error::new(Code::InvalidHandle, "polled after it was over").advice("start another request")
}

pub(super) fn stale(name: &Name) -> Error {
    error(Code::InvalidHandle, name, format!("`{name}` was removed; this handle is stale")).advice("open it again")
}

pub(super) fn in_use(name: &Name, holders: Vec<Holder>, waiters: Vec<Waiter>) -> Error {
    error(Code::SemIsSet, name, format!("`{name}` is in use and stays"))
        .held_by(holders)
        .behind(waiters)
        .advice("wait until they have ended, or end them first")
}

pub(super) fn used_since(name: &Name) -> Error {
    error(Code::SemIsSet, name, format!("`{name}` has been used since it was looked at, and stays"))
        .advice("look again, and then decide")
}

pub(super) fn still_used(name: &Name, holders: Vec<Holder>, waiters: Vec<Waiter>) -> Error {
    error(Code::SemIsSet, name, format!("this process still holds `{name}` through this handle, or waits on it"))
        .held_by(holders)
        .behind(waiters)
        .advice("release it first, or end the wait")
}

pub(super) fn permits_of(name: &Name, permits: u32) -> Error {
    error(Code::InvalidParameter, name, format!("{permits} permits of `{name}`"))
        .advice("ask for at least one permit, and for one only where there are no more")
}

pub(super) fn above_limit(name: &Name, sem: &Sem, permits: u32) -> Error {
    if sem.kind != Kind::Counting {
        return permits_of(name, permits);
    }
    error(Code::InvalidParameter, name, format!("{permits} permits of `{name}`, which has at most {}", sem.limit))
        .advice("ask for no more than the limit, or raise it (`resize`)")
}

pub(super) fn too_deep(name: &Name) -> Error {
    error(Code::TooManySemRequests, name, format!("`{name}` is nested {MAX_DEPTH} deep, which is the limit"))
        .advice("release as often as you acquire")
}

pub(super) fn drained(name: &Name, done: bool) -> Error {
    let how = if done { "it is drained" } else { "it is being drained" };
    error(Code::SemIsSet, name, format!("`{name}` takes no new requests: {how}"))
        .advice("`Namespace::reopen` lets requests in again")
}

pub(super) fn draining_already(name: &Name) -> Error {
    error(Code::SemIsSet, name, format!("`{name}` is being drained already"))
        .advice("wait for that, or end it with `Namespace::reopen`")
}

pub(super) fn reopened(name: &Name) -> Error {
    error(Code::Interrupt, name, format!("the drain of `{name}` was ended: somebody reopened it")).advice("drain it again")
}

pub(super) fn drain_cancelled(name: &Name, holders: Vec<Holder>, waiters: Vec<Waiter>) -> Error {
    error(Code::Interrupt, name, format!("the drain of `{name}` was cancelled; it is open again"))
        .held_by(holders)
        .behind(waiters)
}

pub(super) fn drain_timed_out(name: &Name, holders: Vec<Holder>, waiters: Vec<Waiter>) -> Error {
    error(Code::SemTimeout, name, format!("`{name}` was not left in time; it is open again"))
        .held_by(holders)
        .behind(waiters)
        .advice("drain it again and wait longer, or see what they do (`Namespace::inspect`)")
}

pub(super) fn owned(name: &Name) -> Error {
    Error::new(Code::ExclSemAlreadyOwned, format!("`{name}` is owned by another claimant"))
        .advice("wait for it (`acquire`, `acquire_timeout`) or try again later")
}

pub(super) fn too_few(sem: &Sem, permits: u32, kept: bool) -> Error {
    let (name, free) = (&sem.name, sem.free());
    let what = match kept {
        true => format!("the free permits of `{name}` are kept for who has waited longest"),
        false => format!("`{name}` has {free} free permits of {}, not {permits}", sem.capacity().total),
    };
    Error::new(Code::SemTimeout, what).advice("wait for them (`acquire_many`, `acquire_timeout`) or try again later")
}

pub(super) fn not_signalled(name: &Name, at_once: bool) -> Error {
    let what = if at_once { "is not signalled" } else { "was not signalled in time" };
    Error::new(Code::SemTimeout, format!("`{name}` {what}")).advice("wait longer, or signal it (`Event::signal`)")
}

pub(super) fn timed_out(name: &Name) -> Error {
    Error::new(Code::SemTimeout, format!("`{name}` was not free in time"))
        .advice("wait longer, or see what the holder does (`Namespace::inspect`)")
}

pub(super) fn list_taken(n: usize, all: bool, at_once: bool) -> Error {
    let when = if at_once { "now" } else { "in time" };
    let what = match (all, n) {
        (_, 1) => format!("the semaphore of the list was not free {when}"),
        (true, _) => format!("the {n} semaphores of the list were not free {when} at one instant"),
        (false, _) => format!("none of the {n} semaphores of the list was free {when}"),
    };
    Error::new(Code::SemTimeout, what).advice("wait longer, or see what the holders do (`Namespace::inspect`)")
}

pub(super) fn cancelled(what: &str) -> Error {
    Error::new(Code::Interrupt, format!("the wait for {what} was cancelled"))
}

pub(super) fn deadlock(what: &str, cycle: Vec<Edge>) -> Error {
    Error::new(Code::PossibleDeadlock, format!("waiting for {what} would never end"))
        .closing(cycle)
        .advice("give up what the others wait for, or take all of it at once (`acquire_all`)")
}

pub(super) fn not_owner(name: &Name) -> Error {
    error(Code::NotOwner, name, format!("this claim on `{name}` is not held by the caller (any more)"))
        .advice("it may have been given up, or ended from outside: see `Namespace::inspect`")
}

pub(super) fn no_such_claim(name: &Name, token: u64) -> Error {
    error(Code::NotOwner, name, format!("nobody holds `{name}` with the token {token}"))
        .advice("it may have ended by itself: see `Namespace::inspect` for the claims that there are")
}

pub(super) fn not_that_many(name: &Name, permits: u32, has: u32) -> Error {
    error(Code::NotOwner, name, format!("{permits} permits of `{name}` are more than the {has} of this claim"))
        .advice("give back no more than the claim has")
}

pub(super) fn shares_already() -> Error {
    Error::new(Code::TooManySemRequests, "this process shares a claim already")
        .advice("leave that one first: a process shares one claim at a time")
}

pub(super) fn no_mark(name: &Name, kind: Kind) -> Error {
    error(Code::InvalidFunction, name, format!("`{name}` is of kind {kind}, which has no mark"))
        .advice("this is an operation of exclusive semaphores")
}

pub(super) fn no_claim(name: &Name) -> Error {
    error(Code::InvalidFunction, name, format!("`{name}` is an event: a wait for it leaves nothing to give back"))
        .advice("signal and reset change an event")
}

pub(super) fn no_slots(name: &Name) -> Error {
    error(Code::InvalidFunction, name, format!("`{name}` is a credit, whose permits are all alike"))
        .advice("only the permits of a pool have slots")
}

pub(super) fn is_a_pool(name: &Name) -> Error {
    error(Code::InvalidFunction, name, format!("`{name}` is a pool, whose permits come back"))
        .advice("`resize` changes how many there are; permits are added to and used up from a credit")
}

pub(super) fn too_many_posts(sem: &Sem, permits: u32) -> Error {
    let what =
        format!("{permits} permits more of `{}` than its {} would be above the limit of {}", sem.name, sem.total, sem.limit);
    error(Code::TooManyPosts, &sem.name, what).advice("add fewer, or raise the limit (`resize`)")
}

pub(super) fn no_limit(name: &Name, limit: u32) -> Error {
    error(Code::InvalidParameter, name, format!("a limit of {limit} permits for `{name}`"))
        .advice(format!("a limit is 1 to {MAX_PERMITS}"))
}

pub(super) fn below_total(sem: &Sem, limit: u32) -> Error {
    let what = format!("a limit of {limit} for `{}` is below the {} permits that there are", sem.name, sem.total);
    error(Code::InvalidParameter, &sem.name, what).advice("use some up first (`forget`)")
}
