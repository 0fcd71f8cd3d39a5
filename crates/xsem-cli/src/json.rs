//! The JSON of `ls` and `show`: field names are part of the command's interface, so they are written down here and not
//! derived from the library's types. Durations are in milliseconds, times in milliseconds since 1970.

use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use xsem::{Capacity, Counters, Deaths, Edge, Holder, Obituary, Process, Report, Signal, Summary, Waiter, Wants, cycle_text};

#[derive(Serialize)]
struct ProcessJson {
    pid: u32,
    uid: u32,
    user: String,
    command: String,
    state: &'static str,
    /// Only where the namespace is shared between machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
}

#[derive(Serialize)]
struct HolderJson {
    process: ProcessJson,
    label: Option<String>,
    held_ms: Option<u64>,
    token: u64,
    depth: u32,
    permits: u32,
    slots: Vec<u32>,
    covers: Option<ProcessJson>,
    shared_with: Vec<ProcessJson>,
}

#[derive(Serialize)]
struct WaiterJson {
    process: ProcessJson,
    waiting_ms: u64,
    permits: u32,
    /// `one`: this semaphore; `any`: the first of several; `all`: several at one instant.
    wants: &'static str,
    has_deadline: bool,
}

#[derive(Serialize)]
struct CapacityJson {
    mode: &'static str,
    limit: u32,
    total: u32,
    free: u32,
}

#[derive(Serialize)]
struct EventJson {
    /// `manual` or `auto`.
    reset: &'static str,
    signalled: bool,
}

/// A cycle of waits: in words, and step by step.
#[derive(Serialize)]
struct DeadlockJson {
    text: String,
    steps: Vec<StepJson>,
}

#[derive(Serialize)]
struct StepJson {
    waiter: ProcessJson,
    waits_for: String,
    holder: ProcessJson,
}

#[derive(Serialize)]
struct ObituaryJson {
    process: ProcessJson,
    label: Option<String>,
    cause: String,
    since_ms: Option<u64>,
    noticed_ms: u64,
    token: u64,
}

#[derive(Serialize)]
struct DeathsJson {
    first: ObituaryJson,
    latest: ObituaryJson,
    count: u64,
}

#[derive(Serialize)]
struct CountersJson {
    acquired: u64,
    contended: u64,
    timed_out: u64,
    deaths: u64,
    longest_contended_hold_ms: u64,
}

/// One element of `ls --json`.
#[derive(Serialize)]
pub struct SummaryJson {
    name: String,
    kind: &'static str,
    holders: Vec<HolderJson>,
    contended: bool,
    marked: bool,
    acquired: u64,
    capacity: Option<CapacityJson>,
    event: Option<EventJson>,
    drained: bool,
    ephemeral: bool,
    unused_ms: u64,
}

/// All of `show --json`.
#[derive(Serialize)]
pub struct ReportJson {
    name: String,
    kind: &'static str,
    holders: Vec<HolderJson>,
    waiters: Vec<WaiterJson>,
    marked: bool,
    deaths: Option<DeathsJson>,
    counters: CountersJson,
    capacity: Option<CapacityJson>,
    event: Option<EventJson>,
    drained: bool,
    ephemeral: bool,
    unused_ms: u64,
    deadlock: Option<DeadlockJson>,
}

impl From<&Summary> for SummaryJson {
    fn from(s: &Summary) -> Self {
        SummaryJson {
            name: s.name.clone(),
            kind: s.kind.as_str(),
            holders: s.holders.iter().map(holder).collect(),
            contended: s.contended,
            marked: s.marked,
            acquired: s.acquired,
            capacity: s.capacity.as_ref().map(capacity),
            event: s.signal.as_ref().map(event),
            drained: s.drained,
            ephemeral: s.ephemeral,
            unused_ms: millis(s.unused_for),
        }
    }
}

impl From<&Report> for ReportJson {
    fn from(r: &Report) -> Self {
        ReportJson {
            name: r.name.clone(),
            kind: r.kind.as_str(),
            holders: r.holders.iter().map(holder).collect(),
            waiters: r.waiters.iter().map(waiter).collect(),
            marked: r.marked,
            deaths: r.deaths.as_ref().map(deaths),
            counters: counters(&r.counters),
            capacity: r.capacity.as_ref().map(capacity),
            event: r.signal.as_ref().map(event),
            drained: r.drained,
            ephemeral: r.ephemeral,
            unused_ms: millis(r.unused_for),
            deadlock: deadlock(&r.deadlock),
        }
    }
}

fn process(p: &Process) -> ProcessJson {
    let host = p.host.clone();
    ProcessJson { pid: p.pid, uid: p.uid, user: p.user(), command: p.command.clone(), state: p.state.as_str(), host }
}

fn holder(h: &Holder) -> HolderJson {
    HolderJson {
        process: process(&h.process),
        label: h.label.clone(),
        held_ms: h.held_for.map(millis),
        token: h.token,
        depth: h.depth,
        permits: h.permits,
        slots: h.slots.clone(),
        covers: crate::tree::covered(h).as_ref().map(process),
        shared_with: h.shared_with.iter().map(process).collect(),
    }
}

fn waiter(w: &Waiter) -> WaiterJson {
    WaiterJson {
        process: process(&w.process),
        waiting_ms: millis(w.waiting_for),
        permits: w.permits,
        wants: match w.wants {
            Wants::Any => "any",
            Wants::All => "all",
            _ => "one",
        },
        has_deadline: w.has_deadline,
    }
}

fn capacity(c: &Capacity) -> CapacityJson {
    CapacityJson { mode: c.mode.as_str(), limit: c.limit, total: c.total, free: c.free }
}

fn event(s: &Signal) -> EventJson {
    EventJson { reset: s.reset.as_str(), signalled: s.is_set }
}

fn deadlock(cycle: &[Edge]) -> Option<DeadlockJson> {
    if cycle.is_empty() {
        return None;
    }
    let step = |e: &Edge| StepJson { waiter: process(&e.waiter), waits_for: e.name.clone(), holder: process(&e.holder) };
    Some(DeadlockJson { text: cycle_text(cycle, false), steps: cycle.iter().map(step).collect() })
}

fn obituary(o: &Obituary) -> ObituaryJson {
    ObituaryJson {
        process: process(&o.process),
        label: o.label.clone(),
        cause: o.cause.to_string(),
        since_ms: o.since.map(since_1970),
        noticed_ms: since_1970(o.noticed),
        token: o.token,
    }
}

fn deaths(d: &Deaths) -> DeathsJson {
    DeathsJson { first: obituary(&d.first), latest: obituary(&d.latest), count: d.count }
}

fn counters(c: &Counters) -> CountersJson {
    CountersJson {
        acquired: c.acquired,
        contended: c.contended,
        timed_out: c.timed_out,
        deaths: c.deaths,
        longest_contended_hold_ms: millis(c.longest_contended_hold),
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

fn since_1970(t: SystemTime) -> u64 {
    // Only a clock that was set before 1970 gives the error.
    t.duration_since(UNIX_EPOCH).map(millis).unwrap_or(0)
}
