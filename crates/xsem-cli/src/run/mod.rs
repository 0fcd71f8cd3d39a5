//! `xsem run`: wait, run, pass on the exit code.
//!
//! | file | what |
//! |---|---|
//! | `enclosing` | what an enclosing run or hold has already, and sharing it |
//! | `sharer` | a child for each further claim that is shared |
//! | `acquire` | one semaphore or several, with a dead owner as a fact |
//! | `take` | waiting as the options say |
//! | `retries` | asking again, where `--retries` says so |
//! | `held` | what is held, and giving it back |
//! | `claims` | how claims reach a nested run |
//! | `waiting` | the line that says who is waited for |
//! | `signals` | which signals do what, before and after the claim |
//! | `spawn` | fork and exec, with the claim covering the command before it starts |
//! | `supervise` | waiting for the command: signals, job control, the time limit |
//! | `command_line` | the command as people read it |

pub mod acquire;
pub mod claims;
pub mod command_line;
pub mod enclosing;
mod held;
mod retries;
mod sharer;
pub mod signals;
mod spawn;
mod supervise;
mod take;
pub mod waiting;

use crate::cli::RunArgs;
use crate::exit_codes;
use crate::failure::Failure;
use crate::wanted::{self, Sem};
use claims::Claims;
use held::{Claim, Part};
use retries::Retries;
use xsem::{Code, Error, Exclusive, Mode, Namespace};

/// Which of a pool's permits the command has.
const SLOTS: &str = "XSEM_SLOTS";
/// The fencing tokens of this run's claims.
const TOKENS: &str = "XSEM_TOKENS";

/// Runs the command while owning the semaphores.
pub fn run(args: &RunArgs, url: &str) -> Result<u8, Failure> {
    check(args)?;
    #[cfg(feature = "etcd")]
    crate::remote::tell_contact();
    let mut retries = Retries::new(args);
    let ns = retries.ask(|| Namespace::open(url)).map_err(own)?;
    let claims = Claims::from_env();
    let mut enclosing = enclosing::find(&ns, &claims, args);
    // What we share ourselves comes last: from then on this process has two threads, and cannot fork sharers.
    let last = enclosing.pop();
    let mut shares = enclosing::by_children(url, &enclosing)?;
    let handle = last.as_ref().map(|l| Exclusive::open(&ns, &l.name)).transpose().map_err(own)?;
    if let (Some(l), Some(handle)) = (&last, &handle) {
        // `None`: that claim is over. We were left behind in the background, and are a stranger like everybody.
        shares.extend(handle.join(l.token).map_err(own)?.map(|g| l.part(Claim::Share(g))));
    }

    let others = args.names.iter().filter(|n| !shares.iter().any(|p| p.name == **n));
    let others: Vec<&String> = others.collect();
    let open = || others.iter().map(|n| wanted::open(&ns, n, &args.permits)).collect::<xsem::Result<Vec<Sem>>>();
    let sems = retries.ask(open).map_err(own)?;
    if args.consume {
        check_credit(&sems)?;
    }
    let shown = command_line::shown(&args.command);
    retries.ask(|| ns.describe(&shown)).map_err(own)?;
    enclosing::announce(&ns, &claims, std::process::id()).map_err(own)?;
    // Before there is a claim that could be lost.
    let loss = supervise::Loss::of(&ns);
    let turn = take::take(&sems, &ns, args, &mut retries, || shares.clear())?;
    let Some((acquired, inherited)) = turn else { return Ok(exit_codes::OK) };
    let mut parts = shares;
    parts.extend(Part::of(acquired, sems.iter().map(|s| s.name().to_owned())));
    parts.sort_by_key(|p| args.names.iter().position(|n| *n == p.name));
    perform(args, &ns, claims, parts, &inherited, &shown, &loss)
}

/// Runs the command under the claims, and gives them back.
fn perform(
    args: &RunArgs,
    ns: &Namespace,
    claims: Claims,
    mut parts: Vec<Part<'_>>,
    inherited: &signals::Inherited,
    shown: &str,
    loss: &supervise::Loss,
) -> Result<u8, Failure> {
    let plan = spawn::Plan::new(&args.command, &environment(ns, claims, &parts), args.detach_on_death);
    let child =
        plan.spawn(inherited).map_err(|e| Failure::new(exit_codes::XSEM_FAILED, format!("cannot start `{shown}`: {e}")))?;
    let mut covered = ns.cover(Some(child.pid())).map_err(own);
    for part in &mut parts {
        if let (Ok(()), Claim::Sharer(s)) = (&covered, &mut part.claim) {
            covered = s.cover(child.pid()).map_err(|e| cannot_share(&part.name, &e));
        }
    }
    if let Err(e) = covered {
        child.call_off();
        return Err(e);
    }
    let child = child.go();
    let code = match supervise::supervise(child.pid(), args.time_limit, args.grace, loss, || parts.iter().all(Part::is_held)) {
        Err(e) => Err(Failure::new(exit_codes::XSEM_FAILED, format!("cannot wait for `{shown}`: {e}"))),
        Ok(ended) => match child.why_not() {
            Some(e) => Err(not_executed(args, &e)),
            None => Ok(ended),
        },
    };
    // A command that never ran has left nothing half done: the claims go back as they were, with the mark if there was one.
    held::give_back(parts, code.as_ref().ok(), args.consume, shown);
    // The claims are gone, and with them what they covered; an error here could change nothing any more.
    let _ = ns.cover(None);
    code.map(|ended| ended.exit_code())
}

/// What the command's environment says about its claims.
fn environment(ns: &Namespace, claims: Claims, parts: &[Part<'_>]) -> Vec<(&'static str, String)> {
    let claims = parts.iter().fold(claims, |c, p| c.with(p.token, ns.url(), &p.name, !p.is_exclusive()));
    let mut extra = vec![(claims::VARIABLE, claims.encode()), (TOKENS, joined(parts.iter().map(|p| p.token), ","))];
    let slots: Vec<String> = parts.iter().filter_map(Part::slots).map(|s| joined(s, ",")).collect();
    // A run without a pool leaves the enclosing one's slots to its command.
    if !slots.is_empty() {
        extra.push((SLOTS, slots.join(" ")));
    }
    extra
}

/// Numbers as programs read them.
pub fn joined<T: ToString>(numbers: impl IntoIterator<Item = T>, with: &str) -> String {
    numbers.into_iter().map(|n| n.to_string()).collect::<Vec<_>>().join(with)
}

/// What the definitions of the options cannot say.
fn check(args: &RunArgs) -> Result<(), Failure> {
    let names = &args.names;
    if names.len() > 1 && args.permits.any() {
        let line = "--permits, --limit, --shared and --all are for one name; of several each gives one permit: make the pools \
                    before (`xsem create --pool N NAME`), or put one `xsem run` inside the other";
        return Err(Failure::new(exit_codes::XSEM_FAILED, line));
    }
    wanted::check_count(names).map_err(own)?;
    match names.iter().enumerate().find(|(i, n)| names[..*i].contains(n)) {
        Some((i, twice)) => {
            let first = names.iter().position(|n| n == twice).unwrap_or(0);
            Err(own(Error::new(Code::InvalidListFormat, format!("`{twice}` is named twice")).of(twice).at([first, i]).advice(
                "name each semaphore once; without `--` before the command, the first word is the name and the rest the command",
            )))
        }
        None => Ok(()),
    }
}

/// `--consume` uses permits up, which only those of credit can be.
fn check_credit(sems: &[Sem]) -> Result<(), Failure> {
    for sem in sems {
        let credit = match sem {
            Sem::Counting(s, _) => s.capacity().map_err(own)?.mode == Mode::Credit,
            Sem::Exclusive(_) | Sem::Event(_) => false,
        };
        if !credit {
            let line = format!(
                "--consume is for credit, and `{}` is none: what it lends comes back; `xsem create --credit N NAME` makes one",
                sem.name()
            );
            return Err(Failure::new(exit_codes::XSEM_FAILED, line));
        }
    }
    Ok(())
}

/// A share that a child should hold could not be had.
fn cannot_share(name: &str, e: &std::io::Error) -> Failure {
    Failure::new(exit_codes::XSEM_FAILED, format!("cannot share the claim on `{name}`: {e}"))
}

/// A failure of ours, as opposed to "taken" and to the command's own.
fn own(e: xsem::Error) -> Failure {
    Failure::new(exit_codes::XSEM_FAILED, e.to_string())
}

fn not_executed(args: &RunArgs, e: &std::io::Error) -> Failure {
    let program = args.command.first().map(|c| c.to_string_lossy()).unwrap_or_default();
    let (exit, advice) = match e.raw_os_error() {
        Some(libc::ENOENT) if program.contains('/') => {
            (exit_codes::NOT_FOUND, "check the path, and the interpreter in its first line")
        }
        Some(libc::ENOENT) => {
            (exit_codes::NOT_FOUND, "check the spelling and PATH; a builtin, a pipeline or a list needs a shell: sh -c '...'")
        }
        Some(libc::EACCES) => (exit_codes::CANNOT_EXECUTE, "it must be a file with execute permission (chmod +x)"),
        _ => (exit_codes::CANNOT_EXECUTE, "it must be a program or a script for this machine"),
    };
    Failure::new(exit, format!("cannot run `{program}`: {e}; {advice}"))
}
