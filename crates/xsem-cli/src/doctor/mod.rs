//! `xsem doctor`: what is wrong here, and what to do. It carries out the five steps of the reference pages (context,
//! parameters, object type, input data, limits) on the living system, and changes nothing.
//!
//! | file | what |
//! |---|---|
//! | `finding` | everything that can be found: one table |
//! | `owners`, `waits` | who has it, who waits for it |
//! | `recent` | what has gone wrong lately |
//! | `limits` | what there is only so much of |
//! | `file`, `system`, `environment` | the file, the machine, what the environment says |
//! | `store` | a namespace in etcd: its members, and whose leases are near their end |
//! | `proc` | what `/proc` says of a process |
//! | `print` | for people, for programs |

mod environment;
mod file;
mod finding;
mod limits;
mod owners;
mod print;
mod proc;
mod recent;
#[cfg(feature = "etcd")]
mod store;
mod system;
mod waits;

use crate::cli::DoctorArgs;
use crate::exit_codes;
use crate::failure::Failure;
use finding::{Finding, Severity};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use xsem::shm::probe;
use xsem::{Code, Error, Name, Namespace, Record, Summary};

/// What was looked at, and found.
pub struct Look {
    url: String,
    name: Option<String>,
    findings: Vec<Finding>,
    looked_at: Vec<String>,
    /// Deadlocks that were told, by their semaphores.
    cycles: BTreeSet<Vec<String>>,
    /// Processes that were told to have few descriptors left.
    poor: BTreeSet<u32>,
}

impl Look {
    fn found(&mut self, f: Finding) {
        self.findings.push(f);
    }

    fn looked(&mut self, at: impl Into<String>) {
        self.looked_at.push(at.into());
    }

    fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|f| f.severity).max()
    }
}

/// A name as it can be typed.
fn typed(name: &str) -> String {
    crate::run::command_line::quoted(name)
}

/// Looks, and says what it has found.
pub fn doctor(args: &DoctorArgs, url: &str) -> Result<u8, Failure> {
    if let Some(name) = &args.name {
        Name::new(name)?;
    }
    let (findings, looked_at) = (Vec::new(), Vec::new());
    let mut d = Look {
        url: url.to_owned(),
        name: args.name.clone(),
        findings,
        looked_at,
        cycles: BTreeSet::new(),
        poor: BTreeSet::new(),
    };
    match url.split_once(':') {
        Some(("shm", place)) => {
            let path = probe::path_of(place)?;
            look(&mut d, url, &path);
        }
        #[cfg(feature = "etcd")]
        Some(("etcd" | "etcds", _)) => store::look(&mut d, url)?,
        _ => {
            return Err(Error::new(Code::InvalidParameter, format!("`{url}` is not a namespace that several processes share"))
                .advice("doctor looks at `shm:` and `etcd://` namespaces")
                .into());
        }
    }
    d.findings.sort_by_key(|f| (std::cmp::Reverse(f.severity), f.kind));
    let mut out = io::stdout().lock();
    match args.json {
        true => print::json(&d, &mut out)?,
        false => print::people(&d, args.quiet, &mut out)?,
    }
    out.flush()?;
    Ok(match d.worst() {
        Some(Severity::Trouble) => exit_codes::TROUBLE,
        Some(Severity::Warning) => exit_codes::WARNING,
        _ => exit_codes::OK,
    })
}

fn look(d: &mut Look, url: &str, path: &Path) {
    system::look(d, path);
    d.looked("kernel and login");
    let dir = path.parent().unwrap_or(Path::new("/"));
    limits::room(d, dir);
    let checked = file::look(d, url, path);
    d.looked(format!("the file {}, its directory, mode and owner", path.display()));
    if let Some(c) = &checked {
        limits::tables(d, &c.room);
        d.looked("everything that is stored, and how full its tables are");
    }
    let opened = checked.is_some().then(|| Namespace::builder().create(false).open(url));
    let ns = match opened {
        Some(Ok(ns)) => ns,
        Some(Err(e)) => {
            if d.worst() < Some(Severity::Trouble) {
                let todo = "`xsem check` looks at it without opening it";
                d.found(Finding::new(
                    finding::Kind::Damaged,
                    Severity::Trouble,
                    format!("it cannot be opened: {}", e.message()),
                    todo,
                ));
            }
            return;
        }
        // Looking for a name must not make its namespace.
        None => {
            if let Some(name) = d.name.clone().filter(|_| d.worst() < Some(Severity::Trouble)) {
                environment::no_such_name(d, &name, url, path);
            }
            return;
        }
    };
    inside(d, &ns, url, path);
}

fn inside(d: &mut Look, ns: &Namespace, url: &str, path: &Path) {
    let name = d.name.clone();
    let history = ns.history().unwrap_or_default();
    let lately = ns.incidents().unwrap_or_default();
    recent::mismatches(d, &lately, name.as_deref());
    recent::history(d, &history.records, name.as_deref());
    match history.recording {
        Some(n) => d.looked(format!("the history (on, {n} records) and disagreements about kind and limit")),
        None => d.looked("disagreements about kind and limit (the history is off: `xsem log --on`)"),
    }
    semaphores(d, ns, &history.records, |d, n| environment::no_such_name(d, n, url, path));
}

/// Those that are asked about: who holds them, who waits.
fn semaphores(d: &mut Look, ns: &Namespace, history: &[Record], missing: impl Fn(&mut Look, &str)) {
    let name = d.name.clone();
    environment::claims(d, ns.url(), |n| ns.inspect(n).ok());
    let (mut seen, mut there) = (0u64, false);
    // What is damaged is told above.
    let _ = ns.for_each(|s| {
        if name.as_ref().is_none_or(|n| *n == s.name) {
            seen += 1;
            there = true;
            one(d, ns, &s, history);
        }
        if there && name.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match &name {
        Some(n) if !there => missing(d, n),
        Some(_) => d.looked("who holds it, who waits, for how long, and whether they wait for each other"),
        None => d.looked(format!(
            "{seen} semaphore{}: who holds them, who waits, and whether they wait for each other",
            if seen == 1 { "" } else { "s" }
        )),
    }
}

fn one(d: &mut Look, ns: &Namespace, s: &Summary, history: &[Record]) {
    // Nobody has it, waits for it, or has left anything: of a million names these are most.
    if s.holders.is_empty() && !s.marked && !s.contended && !s.drained {
        return;
    }
    // It may have been removed since.
    let Ok(r) = ns.inspect(&s.name) else { return };
    owners::look(d, s, &r, history);
    waits::look(d, &r);
    limits::descriptors(d, &r);
}
