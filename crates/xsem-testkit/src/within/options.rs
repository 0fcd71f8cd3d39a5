//! What surroundings.

use super::Filter;
use std::ffi::OsString;
use std::path::PathBuf;

/// For people.
pub const USAGE: &str = "usage: within [OPTION...] -- PROGRAM [ARGUMENT...]
  --pid               in a pid namespace of its own, as its process 1
  --init              with --pid: as its process 2, under one that only waits
  --join PID          in the pid and mount namespaces of that process
  --as PID            as this process of its pid namespace
  --user UID          in a user namespace where this is the caller; none: no user is mapped
  --time SECONDS      in a time namespace whose clocks differ by so much
  --spaces            in ipc, uts and cgroup namespaces of its own
  --proc KIND         /proc: own (that of the pid namespace), none, subset (processes only), hidden (hidepid=2)
  --bind FROM TO      another name for a file or directory; may be repeated
  --root DIRECTORY    with this as the root
  --filter RULES      under a seccomp filter, as in futex_waitv=ENOSYS,fork=kill; may be repeated";

/// What `/proc` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proc {
    /// As it was: perhaps that of another pid namespace.
    Same,
    /// That of the pid namespace.
    Own,
    /// Nothing is mounted there.
    None,
    /// Only what belongs to processes.
    Subset,
    /// Processes of other users are not shown.
    Hidden,
}

/// What to set up, and the program.
#[derive(Clone, Debug)]
pub struct Options {
    /// A new pid namespace.
    pub pid: bool,
    /// Under an init that only waits.
    pub init: bool,
    /// Whose pid and mount namespaces.
    pub join: Option<i32>,
    /// Which process id.
    pub as_pid: Option<i32>,
    /// A new user namespace, and who this is there.
    pub user: Option<Option<u32>>,
    /// A new time namespace, and its clocks' offset in seconds.
    pub time: Option<i64>,
    /// New ipc, uts and cgroup namespaces.
    pub spaces: bool,
    /// What is at `/proc`.
    pub proc: Proc,
    /// What is to be found where.
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// Another root.
    pub root: Option<PathBuf>,
    /// Seccomp filters, in this order.
    pub filters: Vec<Filter>,
    /// What to become, with its arguments.
    pub program: Vec<OsString>,
}

impl Options {
    /// From the arguments of the command.
    pub fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Options, String> {
        let mut o = Options {
            pid: false,
            init: false,
            join: None,
            as_pid: None,
            user: None,
            time: None,
            spaces: false,
            proc: Proc::Same,
            binds: Vec::new(),
            root: None,
            filters: Vec::new(),
            program: Vec::new(),
        };
        while let Some(word) = words.next() {
            let option = word.to_string_lossy().into_owned();
            let mut value = || words.next().ok_or_else(|| format!("`{option}` wants a value"));
            let number = |v: OsString| v.to_string_lossy().parse::<i64>().map_err(|_| format!("`{option}` wants a number"));
            match option.as_str() {
                "--pid" => o.pid = true,
                "--init" => o.init = true,
                "--join" => o.join = Some(number(value()?)? as i32),
                "--as" => o.as_pid = Some(number(value()?)? as i32),
                "--user" => {
                    let who = value()?;
                    o.user = Some(if who == "none" { None } else { Some(number(who)? as u32) });
                }
                "--time" => o.time = Some(number(value()?)?),
                "--spaces" => o.spaces = true,
                "--proc" => {
                    o.proc = match value()?.to_str() {
                        Some("own") => Proc::Own,
                        Some("none") => Proc::None,
                        Some("subset") => Proc::Subset,
                        Some("hidden") => Proc::Hidden,
                        _ => return Err("`--proc` is own, none, subset or hidden".into()),
                    }
                }
                "--bind" => o.binds.push((value()?.into(), value()?.into())),
                "--root" => o.root = Some(value()?.into()),
                "--filter" => o.filters.push(value()?.to_string_lossy().parse()?),
                "--" => break,
                _ => return Err(format!("`{option}` is not an option")),
            }
        }
        o.program = words.collect();
        if o.program.is_empty() { Err("no program".into()) } else { Ok(o) }
    }
}
