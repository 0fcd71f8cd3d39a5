//! Namespaces across machines: makes `etcd://` known, and is the guardian of a session where it is started as one.

use std::process::ExitCode;
use xsem_etcd::guardian;

/// Before the command line is looked at. `Some`: this process is a guardian, and has come to its end.
pub fn prepare() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == guardian::ARGUMENT) {
        let rest: Vec<String> = args.map(|a| a.to_string_lossy().into_owned()).collect();
        return Some(guardian::main(&rest));
    }
    xsem_etcd::register();
    // It is this program that ends the leases of its own runs: the one that runs, whatever has its path by then. An update replaces the
    // file, and the next release may be another guardian than the one that this one talks to.
    guardian::set_program(Some("/proc/self/exe".into()));
    None
}
