//! The `xsem` command: parse, run, report.
//!
//! Each command is one file and gives an exit code or a [`Failure`]; the exit codes are all in `exit_codes`.

mod background;
mod check;
mod cli;
mod completions;
mod create;
mod doctor;
mod drain;
mod event;
mod evict;
mod exit_codes;
mod explain;
mod failure;
mod findings;
mod gc;
mod hold;
mod json;
mod log;
mod ls;
mod ok;
mod permits;
mod places;
mod release;
#[cfg(feature = "etcd")]
mod remote;
mod repair;
mod reset;
mod rm;
mod run;
mod show;
mod time;
mod tree;
mod wait;
mod wanted;

use cli::{Cli, Command};
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    one_heap();
    #[cfg(feature = "etcd")]
    if let Some(code) = remote::prepare() {
        return code;
    }
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no errors; they go to stdout with 0. If even printing fails, nothing can be said.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { exit_codes::XSEM_FAILED } else { exit_codes::OK });
        }
    };
    match perform(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.exit)
        }
    }
}

/// The C library's allocator gives each thread a heap of its own, which is 128 MiB of addresses and some system calls at the start
/// of the keeper thread, which needs little.
fn one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: plain numbers, before there is a second thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

fn perform(cli: &Cli) -> Result<u8, Failure> {
    let url = &cli.common.namespace;
    match &cli.command {
        Command::Run(args) => run::run(args, url),
        Command::Hold(args) => hold::hold(args, url),
        Command::Release(args) => release::release(args, url),
        Command::Wait(args) => wait::wait(args, url),
        Command::Ls(args) => ls::ls(args, url),
        Command::Show(args) => show::show(args, url),
        Command::Log(args) => log::log(args, url),
        Command::Doctor(args) => doctor::doctor(args, url),
        Command::Create(args) => create::create(args, url),
        Command::Event(args) => event::event(args, url),
        Command::Resize(args) => permits::resize(args, url),
        Command::Add(args) => permits::add(args, url),
        Command::Drain(args) => drain::drain(args, url),
        Command::Evict(args) => evict::evict(args, url),
        Command::Rm(args) => rm::rm(args, url),
        Command::Gc(args) => gc::gc(args, url),
        Command::Ok(args) => ok::ok(args, url),
        Command::Check(args) => check::check(args, url),
        Command::Repair(args) => repair::repair(args, url),
        Command::Reset(args) => reset::reset(args, url),
        Command::Explain(args) => explain::explain(args),
        Command::Codes(args) => explain::codes(args),
        Command::Completions(args) => completions::completions(args),
    }
}
