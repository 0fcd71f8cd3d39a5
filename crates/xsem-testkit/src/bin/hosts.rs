//! `hosts XSEM`: three hosts want one semaphore; one is killed, one is cut off, and one has a server that leads and is cut off. Each
//! must be told what happened, and no two commands may run at one time.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use xsem_testkit::etcd::hosts::Hosts;
use xsem_testkit::watchdog::Watchdog;

/// What is run under the semaphore: it says that it begins, and that it was told to end.
const MIGRATE: &str =
    "trap 'echo migration: told to end; exit 1' TERM; echo migration: begins; for i in $(seq 600); do sleep 0.1; done";

fn main() -> ExitCode {
    let Some(xsem) = std::env::args().nth(1) else {
        eprintln!("usage: hosts PATH-OF-XSEM (as root)");
        return ExitCode::from(2);
    };
    let _dog = Watchdog::with_time("three hosts", Duration::from_secs(280));
    match story(Path::new(&xsem)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("hosts: {e}");
            ExitCode::FAILURE
        }
    }
}

fn expect(what: &str, got: Option<i32>, wanted: Option<i32>) -> io::Result<()> {
    if got == wanted { Ok(()) } else { Err(io::Error::other(format!("{what}: exit code {got:?}, not {wanted:?}"))) }
}

fn story(xsem: &Path) -> io::Result<()> {
    let hosts = Hosts::start(3)?;
    hosts.program("migrate.sh", MIGRATE)?;
    let migrate = ["run", "migrate", "--", "./migrate.sh"];
    let mut first = hosts.run(0, xsem, &migrate)?;
    hosts.until(0, "migration: begins", 0)?;
    let second = hosts.run(1, xsem, &migrate)?;
    waits(&hosts, xsem, 1)?;
    // The third has something short to do.
    let third = hosts.run(2, xsem, &["run", "migrate", "--", "echo", "migration done"])?;
    waits(&hosts, xsem, 2)?;
    hosts.run(2, xsem, &["show", "migrate"])?.end()?;

    hosts.say("", "--- SIGKILL for xsem, on host1; its command goes with it".to_owned());
    let at = hosts.lines();
    first.kill()?;
    first.end()?;
    hosts.until(1, "migration: begins", at)?;
    hosts.until(1, "host1", at)?;

    // Both programs have said what they say.
    std::thread::sleep(Duration::from_secs(1));
    let at = hosts.lines();
    hosts.cut(1, true)?;
    let told = hosts.until(1, "migration: told to end", at)?;
    let next = hosts.until(2, "migration done", at)?;
    if next < told {
        return Err(io::Error::other("two commands ran at one time"));
    }
    expect("the one that was cut off", second.end()?, Some(125))?;
    expect("the third", third.end()?, Some(0))?;
    hosts.until(2, "host2", at)?;
    hosts.cut(1, false)?;

    // The leader alone on one side: whoever is on the other goes on.
    let leader = hosts.leader(None)?;
    let other = (leader + 1) % 3;
    hosts.say("", format!("--- host{} has the server that leads", leader + 1));
    hosts.cut(leader, true)?;
    expect("after the leader is gone", hosts.run(other, xsem, &["run", "migrate", "--", "true"])?.end()?, Some(0))?;
    hosts.cut(leader, false)?;
    expect("on the old leader", hosts.run(leader, xsem, &["run", "migrate", "--", "true"])?.end()?, Some(0))?;
    hosts.run(2, xsem, &["show", "migrate"])?.end()?;
    Ok(())
}

/// Until so many wait.
fn waits(hosts: &Hosts, xsem: &Path, n: usize) -> io::Result<()> {
    for _ in 0..600 {
        let out = hosts.ask(2, xsem, &["show", "--json", "migrate"])?;
        let json: serde_json::Value = serde_json::from_str(&out).map_err(|e| io::Error::other(format!("{e}: {out}")))?;
        let waiting = json["waiters"].as_array().map_or(0, Vec::len);
        if waiting == n {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(io::Error::other(format!("{n} do not wait")))
}
