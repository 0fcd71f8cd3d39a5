//! The steps of `cargo xtask test`, in the order in which a fault shows soonest.

use crate::Failure;
use crate::need::{self, Need};
use crate::pairs;
use crate::proc::{Job, target};
use crate::survive;
use std::time::{Duration, Instant};

/// One check.
struct Step {
    name: &'static str,
    what: &'static str,
    needs: &'static [Need],
    run: fn() -> Result<(), Failure>,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", what: "the code is formatted", needs: &[need::FMT], run: fmt },
    Step { name: "clippy", what: "no warning, in any target", needs: &[need::CLIPPY, need::CC], run: clippy },
    Step { name: "unit", what: "unit, model and command tests", needs: &[need::CC, need::FLOCK, need::ETCD], run: unit },
    Step {
        name: "etcd",
        what: "the engine on etcd, with real servers",
        needs: &[need::CC, need::ETCD, need::POSTGRES],
        run: etcd,
    },
    Step { name: "conformance", what: "the contract, row by row, on every engine", needs: &[need::CC], run: conformance },
    Step { name: "doctest", what: "the examples of the API pages", needs: &[need::CC], run: doctest },
    Step { name: "doc", what: "the API pages, without a warning", needs: &[], run: doc },
    Step { name: "loom", what: "the model checker over the lock-free parts", needs: &[need::CC], run: loom },
    Step {
        name: "instructions",
        what: "the uncontended paths have no more instructions than before",
        needs: &[need::CC, need::VALGRIND],
        run: crate::instructions::step,
    },
    Step { name: "survive", what: "a kill and a pause at every instruction", needs: &[need::CC], run: survive::step },
    Step {
        name: "pairs",
        what: "a sample of all pairs of operations, one killed or stopped",
        needs: &[need::CC],
        run: pairs::step,
    },
    Step { name: "bugs", what: "faults that are built in are found", needs: &[need::CC], run: survive::bugs_step },
    Step { name: "torture", what: "random kills and stops for 25 seconds", needs: &[need::CC], run: crate::torture::step },
    Step { name: "fuzz", what: "damaged namespace files for 15 seconds", needs: &[need::CC], run: fuzz },
];

/// Prints the steps.
pub fn list() {
    for s in STEPS {
        println!("{:<12} {}", s.name, s.what);
    }
}

/// Runs the steps with these names, or all, in the order of the list; stops at the first that fails, if not told to
/// keep going.
pub fn run(names: &[&str], keep_going: bool) -> Result<(), Failure> {
    for n in names {
        if !STEPS.iter().any(|s| s.name == *n) {
            let known: Vec<_> = STEPS.iter().map(|s| s.name).collect();
            return Err(Failure::usage(format!("`{n}` is not a step; the steps are {}", known.join(", "))));
        }
    }
    let chosen: Vec<_> = STEPS.iter().filter(|s| names.is_empty() || names.contains(&s.name)).collect();
    let mut outcomes = Vec::new();
    for (i, step) in chosen.iter().enumerate() {
        println!("\n=== {} ({}/{}): {} ===", step.name, i + 1, chosen.len(), step.what);
        let start = Instant::now();
        let done = step.needs.iter().try_for_each(Need::satisfy).and_then(|()| (step.run)());
        let took = start.elapsed();
        match &done {
            Ok(()) => println!("=== {}: ok, {} ===", step.name, shown(took)),
            Err(f) => println!("=== {}: FAILED, {}: {} ===", step.name, shown(took), f.text),
        }
        let failed = done.is_err();
        outcomes.push((step.name, took, done));
        if failed && !keep_going {
            break;
        }
    }
    summary(&chosen, &outcomes)
}

fn summary(chosen: &[&Step], outcomes: &[(&str, Duration, Result<(), Failure>)]) -> Result<(), Failure> {
    println!("\nstep         result    time");
    for step in chosen {
        match outcomes.iter().find(|o| o.0 == step.name) {
            Some((name, took, Ok(()))) => println!("{name:<12} ok        {}", shown(*took)),
            Some((name, took, Err(_))) => println!("{name:<12} FAILED    {}", shown(*took)),
            None => println!("{:<12} not run", step.name),
        }
    }
    let total = outcomes.iter().map(|o| o.1).sum();
    println!("{:<12} {:<9} {}", "total", "", shown(total));
    let failed: Vec<_> = outcomes.iter().filter(|o| o.2.is_err()).map(|o| o.0).collect();
    match failed.first() {
        None => Ok(()),
        Some(first) => Err(Failure::check(format!("failed: {}; again: `cargo xtask test {first}`", failed.join(", ")))),
    }
}

fn shown(d: Duration) -> String {
    match d.as_secs() {
        s @ 0..=99 => format!("{s}.{} s", d.subsec_millis() / 100),
        s => format!("{} min {} s", s / 60, s % 60),
    }
}

fn fmt() -> Result<(), Failure> {
    Job::cargo(["fmt", "--all", "--check"]).must("the format check (mend: `cargo fmt --all`)")
}

fn clippy() -> Result<(), Failure> {
    Job::cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]).must("clippy")
}

fn unit() -> Result<(), Failure> {
    let all = ["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"];
    Job::cargo(all).args(["--exclude", "xsem-etcd"]).must_test("a test")
}

fn etcd() -> Result<(), Failure> {
    // Each test starts the servers that it needs, on loopback.
    Job::cargo(["test", "-p", "xsem-etcd", "--lib", "--bins", "--tests", "--no-fail-fast"]).must_test("a test")?;
    // The contract's rows, by processes whose guardians lie beside them.
    Job::cargo(["build", "-p", "xsem-testkit", "-p", "xsem-etcd", "--bins"]).must("the build of the conformance suite")?;
    let rows = ["run", "--quiet", "-p", "xsem-testkit", "--bin", "conformance", "--", "--engine", "etcd"];
    Job::cargo(rows).must("a row of the contract on etcd")?;
    crate::etcd::step()
}

fn conformance() -> Result<(), Failure> {
    // It starts the program `worker`, which lies beside it.
    Job::cargo(["build", "-p", "xsem-testkit", "--bins"]).must("the build of the conformance suite")?;
    Job::cargo(["run", "--quiet", "-p", "xsem-testkit", "--bin", "conformance"]).must("a row of the contract")
}

fn doctest() -> Result<(), Failure> {
    Job::cargo(["test", "--workspace", "--doc"]).must("an example of the API pages")
}

fn doc() -> Result<(), Failure> {
    // Libraries only: the command's pages would overwrite the library's, which has the same name.
    Job::cargo(["doc", "--workspace", "--lib", "--no-deps"]).flags("RUSTDOCFLAGS", "-D warnings").must("the API pages")
}

fn loom() -> Result<(), Failure> {
    let test = |extra: &[&str]| {
        // A directory of its own: other flags would throw the normal build away each time.
        Job::cargo(["test", "-p", "xsem", "--release", "--lib", "loom"])
            .args(extra)
            .env("CARGO_TARGET_DIR", target().join("loom"))
            .flags("RUSTFLAGS", "--cfg loom")
    };
    // A filter that matches nothing succeeds; a step that checks nothing must not.
    let models = test(&["--", "--list"]).output("the build of the models")?;
    if !models.lines().any(|l| l.ends_with(": test")) {
        return Err(Failure::check("no model was found (tests with `loom` in their path, under `cfg(loom)`)".to_owned()));
    }
    test(&[]).must("a model")
}

fn fuzz() -> Result<(), Failure> {
    crate::fuzz::run(&["--seconds".to_owned(), "15".to_owned()])
}
