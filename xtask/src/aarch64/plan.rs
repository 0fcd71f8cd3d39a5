//! What the emulated machine is to do: which programs, with which arguments, for how long at most.

use super::{Options, wrong};
use crate::Failure;
use crate::machines::{Built, task};

/// Tests that cannot run on a machine that has nothing but them, or have nothing of it in them, each with the reason.
pub const LEFT_OUT: [(&str, &str); 7] = [
    ("xsem-hosts/interrupt_dlopen", "it calls cargo"),
    ("xsem-hosts/unload", "it calls cargo"),
    ("xsem-testkit/lease", "of the lease engine, which has nothing of this machine in it"),
    ("xsem-testkit/seeded_faults", "of the checker, which has nothing of this machine in it"),
    ("xsem-testkit/inject", "what it tries is in the part `inject`"),
    ("xsem/async_memory", "of the memory engine alone"),
    ("xsem/memory", "of the memory engine alone"),
];

/// Single tests that are not for such a machine, each with the reason.
pub const SKIPPED: [(&str, &str); 2] = [
    ("optimized_over_all_crates", "it calls cargo"),
    (
        "a_signal_that_changes_nothing",
        "it looks for a weak order, which an emulator has not, by meetings that its processors have in turns",
    ),
];

/// What another processor, C library or kernel can change; the rest takes longer and is for `--all`.
const MATTER: [&str; 16] = [
    "xsem/unit",
    "xsem/exclusive",
    "xsem/counting",
    "xsem/event",
    "xsem/async_one",
    "xsem/file",
    "xsem/fork",
    "xsem/exec",
    "xsem/threads",
    "xsem/interrupt",
    "xsem/signal_release",
    "xsem-hosts/interrupt",
    "xsem-testkit/contract",
    "xsem-testkit/names",
    "xsem-testkit/sequences",
    "xsem-testkit/linearizability",
];

/// Of what plays the same on each engine, only the one that is different on another machine.
const ONE_ENGINE: [&str; 2] = ["xsem-testkit/sequences", "xsem-testkit/linearizability"];

/// How many random cases, and how patient: an emulated processor is many times slower than a real one.
const FEWER: &str = "RUST_BACKTRACE=1 XSEM_CASES=20 XSEM_SEEDS=6 XSEM_HISTORIES=10 XSEM_SLOW=20";

/// After so long on the machine's own clock a program hangs. Longer than the testkit's watchdogs take, which say more.
const LIMIT: u64 = 3600;

/// Operations of which the harness tests every instruction: (name, mode, whether it matters).
const STEPPED: [(&str, &str, bool); 15] = [
    ("acquire-free", "kill", true),
    ("acquire-free", "pause", true),
    ("release", "kill", true),
    ("release", "pause", true),
    ("release-line", "kill", false),
    ("release-late", "kill", false),
    ("takeover", "kill", true),
    ("takeover", "pause", false),
    ("acquire-contended", "kill", false),
    ("pool-acquire", "kill", true),
    ("pool-release", "kill", true),
    ("pool-release", "pause", false),
    ("pool-release-line", "kill", false),
    ("event-signal", "kill", true),
    ("event-wait", "kill", false),
];

/// Operations whose system calls are answered with errors.
const INJECTED: [&str; 3] = ["acquire", "release", "signal"];

/// The lines of the plan.
pub fn plan(built: &[Built], options: &Options) -> Result<Vec<String>, Failure> {
    let program = |name: &str| {
        let found = built.iter().find(|b| b.kind == "bin" && !b.is_test && b.name == name);
        found.map(|b| b.path.to_string_lossy().into_owned()).ok_or_else(|| Failure::check(format!("`{name}` was not built")))
    };
    let harness = program("harness")?;
    if let Some(args) = &options.harness {
        let command: Vec<&str> = [harness.as_str()].into_iter().chain(args.split_whitespace()).collect();
        return Ok(vec![task("harness", 3 * LIMIT, "", &command)]);
    }
    let mut plan = Vec::new();
    let mut add = |name: &str, matters: bool, command: &[&str]| {
        let named = options.only.iter().any(|o| name.contains(o.as_str()));
        if named || options.only.is_empty() && (matters || options.all) {
            plan.push(task(name, LIMIT, FEWER, command));
        }
    };
    let mut tests: Vec<&Built> = built.iter().filter(|b| b.is_test && b.kind != "bin").collect();
    // The library's own tests first.
    tests.sort_by_key(|b| (b.kind != "lib", b.package != "xsem", b.title()));
    for b in tests.into_iter().filter(|b| LEFT_OUT.iter().all(|(name, _)| *name != b.title())) {
        let (title, path) = (b.title(), b.path.to_string_lossy());
        let mut command = vec![&*path, "--test-threads=2"];
        SKIPPED.iter().for_each(|(name, _)| command.extend(["--skip", name]));
        command.extend(ONE_ENGINE.contains(&&*title).then_some("in_shared_memory"));
        add(&title, MATTER.contains(&&*title), &command);
    }
    add("conformance/shm", false, &[&program("conformance")?, "--engine", "shm"]);
    for (name, mode, matters) in STEPPED {
        add(&format!("harness/{name}/{mode}"), matters, &[&harness, "--only", name, "--mode", mode]);
    }
    add("torture", true, &[&program("torture")?, "--seconds", "120", "--seed", "1"]);
    let inject = program("inject")?;
    for name in INJECTED {
        add(&format!("inject/{name}"), false, &[&inject, "--only", name, "--seconds", "60"]);
    }
    match plan.is_empty() {
        true => Err(wrong("nothing of the plan has that in its name".to_owned())),
        false => Ok(plan),
    }
}
