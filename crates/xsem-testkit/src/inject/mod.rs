//! Fault injection: for every system call of every operation, in every thread, each error that it may plausibly give, once, and
//! from then on.
//!
//! The operation must then succeed all the same, or fail with a clear error, after which it works; nothing hangs, panics or
//! aborts, no claim leaks, the file is sound, and a second process goes on. See `docs/testing.md` and `inject --help`.

mod calls;
mod case;
mod operations;
mod options;
mod tracer;

pub use options::{Options, USAGE};

use crate::random::Random;
use crate::sys;
use operations::{OPERATIONS, Operation};
use std::collections::BTreeSet;
use std::io;
use std::time::Instant;
use tracer::{Fault, Spot};

/// A fault of an operation.
struct Planned {
    operation: &'static Operation,
    fault: Fault,
}

#[derive(Default)]
struct Row {
    calls: usize,
    planned: usize,
    run: usize,
    given: usize,
    refused: usize,
    codes: BTreeSet<u32>,
    violations: usize,
    stuck: usize,
}

/// Runs what the options say, and prints a table. False: something was violated.
pub fn run(options: &Options) -> io::Result<bool> {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        println!("inject: not run: how to answer system calls is known on x86-64 and aarch64 only");
        return Ok(true);
    }
    sys::hold_child_signals();
    let chosen: Vec<&'static Operation> = OPERATIONS.iter().filter(|o| options.takes(o.name)).collect();
    if options.list {
        chosen.iter().for_each(|o| println!("{}", o.name));
        return Ok(true);
    }
    if chosen.is_empty() {
        return Err(io::Error::other("no operation has such a name; `inject --list` shows them"));
    }
    let begin = Instant::now();
    let mut rows: Vec<Row> = Vec::new();
    let mut plan: Vec<Planned> = Vec::new();
    for operation in &chosen {
        let outcome = case::run(operation, None)?;
        if let Some(v) = outcome.violations.first() {
            return Err(io::Error::other(format!("{}, without any fault: {v}", operation.name)));
        }
        if outcome.code != 0 {
            return Err(io::Error::other(format!("{}, without any fault: {}", operation.name, outcome.code)));
        }
        let before = plan.len();
        plan.extend(outcome.trace.spots.iter().flat_map(faults).map(|fault| Planned { operation, fault }));
        rows.push(Row { calls: outcome.trace.spots.len(), planned: plan.len() - before, ..Row::default() });
    }
    plan.retain(|p| options.at.as_ref().is_none_or(|at| *at == place(&p.fault)));
    if options.seconds.is_some() {
        let mut random = Random::new(options.seed);
        plan.sort_by_cached_key(|_| random.next());
    }
    for p in &plan {
        if options.seconds.is_some_and(|s| begin.elapsed().as_secs() >= s) {
            break;
        }
        let row = &mut rows[chosen.iter().position(|o| std::ptr::eq(*o, p.operation)).expect("chosen")];
        let outcome = case::run(p.operation, Some(p.fault))?;
        row.run += 1;
        row.given += usize::from(outcome.trace.given);
        row.refused += usize::from(outcome.code != 0);
        row.stuck += usize::from(outcome.stuck);
        row.violations += usize::from(!outcome.violations.is_empty());
        if outcome.code != 0 {
            row.codes.insert(outcome.code);
        }
        for v in &outcome.violations {
            println!("VIOLATION {}\n    {v}\n    again: {}", told(p), again(p));
        }
        if options.at.is_some() {
            println!("{}: {}", told(p), if outcome.code == 0 { "succeeded".to_owned() } else { outcome.code.to_string() });
        }
    }
    Ok(table(&chosen, &rows, begin))
}

fn faults(spot: &Spot) -> Vec<Fault> {
    let errors = calls::of(spot.number).map_or(&[][..], |c| calls::errors_of(c, spot.arguments));
    let once = errors.iter().map(|&errno| Fault { spot: *spot, errno, lasting: false });
    // What is interrupted or told to try again for ever is not a fault that there is.
    // Where there is no memory any more, the next allocation ends the program: Rust's own decision, and not the library's.
    let memory = [libc::SYS_mmap, libc::SYS_brk, libc::SYS_mprotect].contains(&spot.number);
    let lasts = |errno: &i32| !memory && !matches!(*errno, libc::EINTR | libc::EAGAIN);
    once.chain(errors.iter().copied().filter(lasts).map(|errno| Fault { spot: *spot, errno, lasting: true })).collect()
}

fn place(f: &Fault) -> String {
    let lasting = if f.lasting { ":on" } else { "" };
    format!("{}:{}:{}{lasting}", f.spot.thread, f.spot.nth, calls::error_name(f.errno))
}

fn told(p: &Planned) -> String {
    let call = calls::of(p.fault.spot.number).map_or("?", |c| c.name);
    let (thread, nth) = (p.fault.spot.thread, p.fault.spot.nth);
    let on = if p.fault.lasting { ", and from each later one" } else { "" };
    format!("{}: {} from {call} (thread {thread}, its call {nth}){on}", p.operation.name, calls::error_name(p.fault.errno))
}

fn again(p: &Planned) -> String {
    format!("cargo xtask inject --only '{}' --at {}", p.operation.name, place(&p.fault))
}

fn table(chosen: &[&'static Operation], rows: &[Row], begin: Instant) -> bool {
    println!(
        "\n{:<26} {:>6} {:>7} {:>6} {:>6} {:>8} {:>10} {:>6}  codes",
        "operation", "calls", "faults", "run", "given", "refused", "violations", "stuck"
    );
    let mut fine = true;
    for (o, r) in chosen.iter().zip(rows) {
        let codes: Vec<String> = r.codes.iter().map(u32::to_string).collect();
        println!(
            "{:<26} {:>6} {:>7} {:>6} {:>6} {:>8} {:>10} {:>6}  {}",
            o.name,
            r.calls,
            r.planned,
            r.run,
            r.given,
            r.refused,
            r.violations,
            r.stuck,
            codes.join(" ")
        );
        fine &= r.violations == 0 && r.stuck == 0;
    }
    let (planned, run, given) = rows.iter().fold((0, 0, 0), |a, r| (a.0 + r.planned, a.1 + r.run, a.2 + r.given));
    println!(
        "\n{run} of {planned} faults run, {given} given (in the others the call was not made that time), {} s",
        begin.elapsed().as_secs()
    );
    fine
}
