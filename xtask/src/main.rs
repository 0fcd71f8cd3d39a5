//! The project's own commands. `cargo xtask test` is the one check; CI runs nothing else.

mod aarch64;
mod bench;
mod docs;
mod etcd;
mod fuzz;
mod hung;
mod inject;
mod instructions;
mod machines;
mod need;
mod pairs;
mod proc;
mod sanitize;
mod steps;
mod survive;
mod torture;

use std::env;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [--list] [--keep-going] [STEP...]   every check, or only the steps named; sets up what it needs
  check                                    fmt, clippy, unit: the fast ones, before a commit
  bench [NAME...|all|goals] [OPTIONS]      xsem beside its peers in one run (uncontended by default; `bench --list`)
  inject [OPTIONS]                         each system call of each operation fails, in each way: one table (--help)
  survive [OPTIONS]                        a kill and a pause at every instruction of each operation: one table (--help)
  survive --bugs | --bug NAME [OPTIONS]    the same on code with known faults in it, each of which must be found
  pairs [OPTIONS]                          every pair of operations, one killed or stopped while the other runs (--help)
  torture [--minutes N] [OPTIONS]          random operations, kills and stops for a while (1 minute by default; --help)
  etcd COMMAND [OPTIONS]                   real etcd servers: three nodes, faults, histories, scale, three hosts (--help)
  aarch64 [OPTIONS]                        the tests on an emulated aarch64 machine (`aarch64 --help`)
  sanitize [address|leak|thread]           tests under the compiler's sanitizers (`sanitize --help`)
  fuzz [--minutes N] [--seed S] [--at CASE]   damages namespace files, at rest and in use (20 seconds by default)
  docs                                     the API pages and the site of the documents, into target/doc and target/site
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let done = match args.first().map(String::as_str) {
        Some("test") => test(rest),
        Some("check") => no_arguments("check", rest).and_then(|()| steps::run(&["fmt", "clippy", "unit"], false)),
        Some("bench") => bench::command(rest),
        Some("inject") => inject::command(rest),
        Some("survive") => survive::command(rest),
        Some("pairs") => pairs::command(rest),
        Some("torture") => torture::command(rest),
        Some("etcd") => etcd::command(rest),
        Some("aarch64") => aarch64::run(rest),
        Some("sanitize") => sanitize::run(rest),
        Some("fuzz") => fuzz::run(rest),
        Some("docs") => no_arguments("docs", rest).and_then(|()| docs::command()),
        Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(other) => Err(Failure::usage(format!("`{other}` is not a command"))),
        None => Err(Failure::usage("a command is missing".to_owned())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(f) => {
            eprintln!("xtask: {}", f.text);
            ExitCode::from(f.code)
        }
    }
}

/// Why a command did not succeed, and the exit code for it: 1 a check failed, 2 the command line is wrong.
#[derive(Debug)]
struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    fn check(text: String) -> Failure {
        Failure { text, code: 1 }
    }

    fn usage(text: String) -> Failure {
        Failure { text: format!("{text}\n\n{USAGE}"), code: 2 }
    }
}

fn no_arguments(command: &str, rest: &[String]) -> Result<(), Failure> {
    match rest.first() {
        None => Ok(()),
        Some(a) => Err(Failure::usage(format!("`{command}` takes no argument, and got `{a}`"))),
    }
}

fn test(rest: &[String]) -> Result<(), Failure> {
    let mut keep_going = false;
    let mut names = Vec::new();
    for a in rest {
        match a.as_str() {
            "--list" => {
                steps::list();
                return Ok(());
            }
            "--keep-going" | "-k" => keep_going = true,
            o if o.starts_with('-') => {
                return Err(Failure::usage(format!("`test` has no option `{o}`; it has --list and --keep-going")));
            }
            name => names.push(name),
        }
    }
    steps::run(&names, keep_going)
}
