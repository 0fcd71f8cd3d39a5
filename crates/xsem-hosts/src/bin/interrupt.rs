//! Interrupt time, as programs meet it. `interrupt --help` says how; the exit code is 0 when all is as it should be.

use std::process::ExitCode;
use xsem::interrupt::testing::Fault;
use xsem_hosts::{CountingAllocator, Options, Others, Way, run};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const HELP: &str = "interrupt URL [OPTION...]

Handlers of all sorts on threads of all sorts ask for semaphores in the (fresh) namespace.

  --full         without the hint: a full check at each request
  --unwind       the same, only by unwinding
  --must-hint    the hint has to hold here
  --registered   another library has registered an rseq area for each thread
  --intruding    another library leaves its own pointer in the rseq area
  --seed FAULT   blind: no handler is found; arms: handlers arm the hint; never: nobody looks";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(url) = args.next().filter(|a| a != "--help") else {
        println!("{HELP}");
        return ExitCode::from(2);
    };
    let mut o = Options { way: Way::Usual, others: Others::None, must_hint: false, fault: Fault::None, never_look: false };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--full" => o.way = Way::Full,
            "--unwind" => o.way = Way::Unwind,
            "--must-hint" => o.must_hint = true,
            "--registered" => o.others = Others::Registered,
            "--intruding" => o.others = Others::Intruding,
            "--seed" => match args.next().as_deref() {
                Some("blind") => o.fault = Fault::Blind,
                Some("arms") => o.fault = Fault::ArmsInHandlers,
                Some("never") => o.never_look = true,
                _ => return usage(&arg),
            },
            _ => return usage(&arg),
        }
    }
    let wrong = run(&url, o);
    wrong.iter().for_each(|w| println!("WRONG: {w}"));
    if wrong.is_empty() {
        println!("all is as it should be");
    }
    ExitCode::from(!wrong.is_empty() as u8)
}

fn usage(arg: &str) -> ExitCode {
    println!("`{arg}` is not understood\n\n{HELP}");
    ExitCode::from(2)
}
