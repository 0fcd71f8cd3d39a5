//! Namespaces across machines: makes `etcd://` known, and is the guardian of a session where it is started as one.

use crate::failure::say;
use std::process::ExitCode;
use std::time::SystemTime;
use xsem::age;
use xsem_etcd::{Contact, guardian};

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

/// Says once when the store does not answer any more, what that means, and when it is back: a wait, or a command that runs, goes on meanwhile.
pub fn tell_contact() {
    xsem_etcd::on_contact(|contact| match contact {
        Contact::Silent { time, left } => {
            let since =
                SystemTime::now().checked_sub(time).map_or(String::new(), |t| format!(" since {}", crate::log::local(t).1));
            say(&format!(
                "the store cannot be reached{since}; if that goes on, this process's lease ends in {}, and what it holds is lost",
                age(left)
            ));
        }
        Contact::Back { after } => say(&format!("the store can be reached again, after {}", age(after))),
        _ => {}
    });
}
