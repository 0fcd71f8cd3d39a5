//! The semaphores that a command line names: which kind, how many permits, made where they do not exist.

use crate::cli::PermitArgs;
use xsem::engine::MAX_LIST;
use xsem::{Code, Counting, Error, Event, Exclusive, Kind, Mode, Namespace, Options, Pick, Result};

/// The limit of a pool that `--shared` or `--all` makes.
const READERS: u32 = 1000;

/// An open semaphore, and what is wanted of it.
#[derive(Debug)]
pub enum Sem {
    /// All of an exclusive one.
    Exclusive(Exclusive),
    /// So many permits of a counting one.
    Counting(Counting, u32),
    /// The signal of an event.
    Event(Event),
}

impl Sem {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Sem::Exclusive(s) => s.name(),
            Sem::Counting(s, _) => s.name(),
            Sem::Event(e) => e.name(),
        }
    }

    /// The event, if it is one.
    pub fn event(&self) -> Option<&Event> {
        match self {
            Sem::Event(e) => Some(e),
            _ => None,
        }
    }

    /// As an entry of a list.
    pub fn pick(&self) -> Pick<'_> {
        match self {
            Sem::Exclusive(s) => s.into(),
            Sem::Counting(s, n) => Pick::permits(s, *n),
            Sem::Event(e) => e.into(),
        }
    }

    /// An existing one, of whatever kind, of which one permit is wanted.
    ///
    /// # Errors
    /// 187, 123, 5.
    pub fn existing(ns: &Namespace, name: &str) -> Result<Sem> {
        loop {
            let kind = ns.kind(name)?;
            let opened = match kind {
                Kind::Counting => Counting::open(ns, name).map(|s| Sem::Counting(s, 1)),
                Kind::Event => Event::open(ns, name).map(Sem::Event),
                _ => Exclusive::open(ns, name).map(Sem::Exclusive),
            };
            match opened {
                // Made anew as another kind in between: look again.
                Err(e) if e.code() == Code::InvalidHandle && ns.kind(name).is_ok_and(|now| now != kind) => {}
                other => return other,
            }
        }
    }
}

fn is_event(ns: &Namespace, name: &str) -> bool {
    ns.kind(name).is_ok_and(|kind| kind == Kind::Event)
}

/// A list that cannot be is refused before anything is opened or made.
///
/// # Errors
/// 151 more names than a list may have.
pub fn check_count(names: &[String]) -> Result<()> {
    match names.len() {
        n if n > MAX_LIST => {
            let advice = format!("name 1 to {MAX_LIST} of them");
            Err(Error::new(Code::InvalidEventCount, format!("a list of {n} semaphores")).advice(advice))
        }
        _ => Ok(()),
    }
}

/// Opens `name` as the options of `run` and `hold` say: an existing one as it is, a missing one as a pool with the limit
/// that was given, and exclusive without one.
///
/// # Errors
/// 87 another limit, or more permits than it has; 6 an event, or of another kind than the options need; 123, 100, 5.
pub fn open(ns: &Namespace, name: &str, want: &PermitArgs) -> Result<Sem> {
    let options = if want.ephemeral { Options::new().ephemeral() } else { Options::new() };
    let sem = match want.limit {
        Some(limit) => pool(ns, name, limit, options).map_err(|e| not_a_pool(e, ns, name))?,
        None if want.shared || want.all => open_or_make(
            || Counting::open(ns, name).map_err(|e| not_a_pool(e, ns, name)),
            || Counting::create_pool(ns, name, READERS, options),
        )?,
        None => match plain(ns, name, want.permits.unwrap_or(1), options)? {
            Sem::Counting(sem, _) => sem,
            Sem::Event(_) => return Err(nobody_owns(name)),
            exclusive => return Ok(exclusive),
        },
    };
    let limit = sem.capacity()?.limit;
    let permits = if want.all { limit } else { want.permits.unwrap_or(1) };
    if permits > limit {
        return Err(Error::new(Code::InvalidParameter, format!("`{name}` has {limit} permits and never {permits}"))
            .of(name)
            .advice(format!("ask for at most {limit}, or raise the limit: `xsem resize {name} {permits}`")));
    }
    Ok(Sem::Counting(sem, permits))
}

/// An existing one, or a new one; whoever removes or makes it in between only makes us look again.
fn open_or_make<T>(open: impl Fn() -> Result<T>, make: impl Fn() -> Result<T>) -> Result<T> {
    loop {
        match open() {
            Err(e) if e.is_not_found() => {}
            other => return other,
        }
        match make() {
            Err(e) if e.code() == Code::AlreadyExists => {}
            other => return other,
        }
    }
}

/// The pool with this limit.
fn pool(ns: &Namespace, name: &str, limit: u32, options: Options) -> Result<Counting> {
    if options == Options::new() {
        return Counting::open_or_create_pool(ns, name, limit);
    }
    let sem = open_or_make(|| Counting::open(ns, name), || Counting::create_pool(ns, name, limit, options))?;
    match sem.capacity()? {
        c if c.mode == Mode::Pool && c.limit == limit => Ok(sem),
        c => Err(Error::new(
            Code::InvalidParameter,
            format!("`{name}` is a {} with the limit {}, not a pool with the limit {limit}", c.mode, c.limit),
        )
        .of(name)),
    }
}

/// Without a limit: what is there, or a new exclusive one.
fn plain(ns: &Namespace, name: &str, permits: u32, options: Options) -> Result<Sem> {
    if permits == 1 {
        return open_or_make(|| Sem::existing(ns, name), || Exclusive::create_with(ns, name, options).map(Sem::Exclusive));
    }
    let no_limit = |what: &str, advice: String| {
        Err(Error::new(Code::InvalidParameter, format!("{permits} permits of `{name}`, {what}")).of(name).advice(advice))
    };
    match Counting::open(ns, name) {
        Err(e) if e.is_not_found() => no_limit(
            "which does not exist yet",
            format!("say how many there are in all: --limit N makes it a pool of N permits (N is {permits} or more)"),
        ),
        Err(e) if e.code() == Code::InvalidHandle && is_event(ns, name) => Err(nobody_owns(name)),
        Err(e) if e.code() == Code::InvalidHandle => {
            no_limit("which is exclusive and has one owner at a time", "leave --permits out, or use another name".into())
        }
        other => other.map(|s| Sem::Counting(s, permits)),
    }
}

/// 6 in the words of the command line, which knows options and not handles.
fn not_a_pool(e: Error, ns: &Namespace, name: &str) -> Error {
    if e.code() != Code::InvalidHandle {
        return e;
    }
    if is_event(ns, name) {
        return nobody_owns(name);
    }
    Error::new(e.code(), e.message())
        .of(name)
        .advice(format!("leave --limit, --shared and --all out, use another name, or make it a pool: `xsem rm {name}` first"))
}

/// 6: `run` and `hold` are for what can be owned.
fn nobody_owns(name: &str) -> Error {
    let typed = crate::run::command_line::quoted(name);
    Error::new(Code::InvalidHandle, format!("`{name}` is an event, which is waited for and never owned")).of(name).advice(
        format!(
            "wait for it first: `xsem event wait {typed} && xsem run ...`, with a semaphore of another name if only one may go on"
        ),
    )
}
