//! Real work: the scripts in `examples/`, and the second of them once more with an exact account of every kill.

mod common;

use common::{Place, code, example, kill, lives, pid_of, state, text, until};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

#[test]
fn forty_shells_count_to_exactly_1000() {
    let _watchdog = Place::new();
    assert!(text(&example("counter.sh").stdout).contains("= 1000"));
}

#[test]
fn two_builds_in_one_target_directory_wait_for_each_other() {
    let _watchdog = Place::new();
    assert!(text(&example("builds.sh").stdout).contains("the second build waited for the first"));
}

#[test]
fn a_stopped_owner_keeps_it_and_a_stopped_waiter_is_in_nobody_s_way() {
    let _watchdog = Place::new();
    let said = text(&example("stopped.sh").stdout);
    for part in ["121 ERROR_SEM_TIMEOUT", ", stopped", "run 3 went past", "had its turn, too"] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
}

#[test]
fn one_user_has_one_namespace_whatever_the_environment() {
    let _watchdog = Place::new();
    assert!(text(&example("one-namespace.sh").stdout).ends_with("one namespace\n"));
}

#[test]
fn ten_trainings_on_four_gpus_never_meet() {
    let _watchdog = Place::new();
    assert!(text(&example("gpus.sh").stdout).ends_with("none used twice\n"));
}

#[test]
fn readers_never_see_a_half_written_file() {
    let _watchdog = Place::new();
    assert!(text(&example("readers.sh").stdout).ends_with("none of a half-written file\n"));
}

#[test]
fn clients_wait_for_their_server_and_workers_for_work() {
    let _watchdog = Place::new();
    let said = text(&example("events.sh").stdout);
    assert!(said.contains("a late client finds it up") && said.ends_with("three clients served, twenty jobs done\n"), "{said}");
}

/// A script that nobody runs stops working without anybody noticing. `rename.sh` is run by `kills.sh`.
#[test]
fn every_example_is_run_by_a_test_here() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let (here, mut found) = (include_str!("real_work.rs"), 0);
    for script in fs::read_dir(&dir).expect("the examples") {
        let name = script.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(name == "rename.sh" || here.contains(&format!("example(\"{name}\")")), "{name}");
        found += 1;
    }
    assert!(found >= 10, "{} has {found} scripts", dir.display());
}

#[test]
fn scripts_hold_and_release() {
    let _watchdog = Place::new();
    let said = text(&example("hold.sh").stdout);
    assert!(said.contains("this shell's own commands share it") && said.ends_with("each script had it alone\n"), "{said}");
}

#[test]
fn the_example_with_kills_adds_up() {
    let _watchdog = Place::new();
    let said = text(&example("kills.sh").stdout);
    assert!(said.contains("renames done, the file says"), "{said}");
}

/// Kills that are certain to hit an owner: it is stopped first, looked at, and killed while it cannot move. So the
/// deaths that are counted and reported must be exactly these.
#[test]
fn every_kill_that_hit_an_owner_is_reported_once() {
    let account = Account::default();
    let deaths = account.run(Aim::Owners, 10, 20);
    let hits = account.hits.load(Ordering::Relaxed);
    assert_eq!(deaths.counted, hits, "counted deaths and owners hit");
    assert_eq!(deaths.reported, hits, "reported deaths and owners hit");
}

/// Kills at any instant of any run: waiting, starting, owning, releasing. Which of them hit an owner is not always to be
/// known from outside, but the sums have bounds, and everything else is exact.
#[test]
fn kills_at_random_instants_add_up() {
    let account = Account::default();
    let deaths = account.run(Aim::Anything, 10, 20);
    let hits = account.hits.load(Ordering::Relaxed);
    let maybe = account.maybe.load(Ordering::Relaxed);
    assert!(deaths.counted >= hits, "{} deaths counted, {hits} commands killed", deaths.counted);
    assert!(deaths.counted <= hits + maybe, "{} deaths counted, {hits} + {maybe} kills", deaths.counted);
    // A wrapper that is killed between saying "in order again" and its end takes its own report with it.
    assert!(deaths.reported <= deaths.counted, "{} reported, {} counted", deaths.reported, deaths.counted);
    assert!(deaths.reported + account.lost.load(Ordering::Relaxed) >= deaths.counted, "{} reported", deaths.reported);
}

/// So many kills make a sum that means something, however fast the machine is through with the runs.
const ENOUGH: u64 = 25;

#[derive(Clone, Copy, PartialEq)]
enum Aim {
    Owners,
    Anything,
}

struct Deaths {
    counted: u64,
    reported: u64,
}

/// What is known about the kills.
#[derive(Default)]
struct Account {
    /// Owners, or commands of owners, that were killed for certain.
    hits: AtomicU64,
    /// Wrappers that were killed at an unknown instant.
    maybe: AtomicU64,
    /// Those of them that had said a warning, and died with it.
    lost: AtomicU64,
    /// Reports by runs that succeeded, so that nobody after them is told again.
    reported: AtomicU64,
}

impl Account {
    fn kills(&self, aim: Aim) -> u64 {
        match aim {
            Aim::Owners => self.hits.load(Ordering::SeqCst),
            Aim::Anything => self.maybe.load(Ordering::SeqCst),
        }
    }

    /// At least `shells` × `times` runs of `examples/rename.sh`, with kills until they are through.
    fn run(&self, aim: Aim, shells: usize, times: usize) -> Deaths {
        let p = Place::new();
        fs::write(p.file("f"), "0\n").expect("a file");
        assert_eq!(code(p.output(&["create", "ledger"]).status), 0);
        let running: Mutex<Vec<u32>> = Mutex::default();
        let (left, finished) = (AtomicUsize::new(shells), AtomicBool::new(false));
        thread::scope(|s| {
            for shell in 0..shells {
                let (p, running, left) = (&p, &running, &left);
                s.spawn(move || {
                    let mut i = 0;
                    while i < times || self.kills(aim) < ENOUGH {
                        self.one(p, running, &format!("{shell}-{i}"), aim);
                        i += 1;
                    }
                    left.fetch_sub(1, Ordering::SeqCst);
                });
            }
            s.spawn(|| {
                let mut random = 0x2545_F491_4F6C_DD1D_u64;
                while left.load(Ordering::SeqCst) > 0 {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    thread::sleep(Duration::from_millis(random % 40));
                    match aim {
                        Aim::Owners => self.kill_the_owner(&p, &running, random >> 20 & 1 == 0),
                        Aim::Anything => self.kill_anyone(&p, &running, random >> 20),
                    }
                }
                finished.store(true, Ordering::SeqCst);
            });
        });
        assert!(finished.load(Ordering::SeqCst));

        let renames = renames_done(p.dir());
        let sum: usize = fs::read_to_string(p.file("f")).expect("f").trim().parse().expect("a number");
        assert_eq!(sum, renames, "the file and the renames done");
        // What nobody has acknowledged yet; an owner that was killed last of all is only met by this.
        let rest = p.output(&["ok", "ledger"]);
        assert_eq!(code(rest.status), 0, "{}", text(&rest.stderr));
        let rest = deaths_in(&text(&rest.stdout), "acknowledged: ");
        let shown = p.show("ledger").expect("it is there");
        assert!(shown["holders"].as_array().is_some_and(Vec::is_empty), "{shown}");
        assert!(shown["waiters"].as_array().is_some_and(Vec::is_empty), "{shown}");
        let counted = shown["counters"]["deaths"].as_u64().expect("a number");
        let reported = self.reported.load(Ordering::SeqCst) + rest;
        eprintln!(
            "{sum} renames; kills: {} certain, {} at unknown instants; deaths: {counted} counted, {reported} reported",
            self.hits.load(Ordering::SeqCst),
            self.maybe.load(Ordering::SeqCst)
        );
        Deaths { counted, reported }
    }

    /// One run, to whatever end.
    fn one(&self, p: &Place, running: &Mutex<Vec<u32>>, id: &str, aim: Aim) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/rename.sh");
        let said = p.file(&format!("said.{id}"));
        let mut c = p.xsem(&["run", "ledger", "--", "sh"]);
        c.arg(script).arg(p.dir()).arg(id).stderr(Stdio::from(fs::File::create(&said).expect("a file")));
        let mut child = c.spawn().expect("xsem can be started");
        running.lock().expect("no panic").push(child.id());
        let status = loop {
            thread::sleep(Duration::from_millis(1));
            // It is reaped under the lock, so that the killer never names a process that is another one by now.
            let mut all = running.lock().expect("no panic");
            if let Some(status) = child.try_wait().expect("it can be waited for") {
                all.retain(|&pid| pid != child.id());
                break status;
            }
        };
        let said = fs::read_to_string(said).expect("what it said");
        let warnings = deaths_in(&said, "died: ");
        match code(status) {
            0 => {
                self.reported.fetch_add(warnings, Ordering::SeqCst);
            }
            137 if status.code().is_some() => {
                // Its command was killed. A kill of the owner's command is counted where it is known for certain.
                if aim == Aim::Anything {
                    self.hits.fetch_add(1, Ordering::SeqCst);
                }
            }
            137 => {
                self.lost.fetch_add(warnings, Ordering::SeqCst);
            }
            other => panic!("a run that nobody killed ended with {other}: {said}"),
        }
    }

    fn kill_the_owner(&self, p: &Place, running: &Mutex<Vec<u32>>, the_command: bool) {
        let Some(owner) = p.holder("ledger").map(|h| pid_of(&h["process"])) else { return };
        let all = running.lock().expect("no panic");
        if !all.contains(&owner) || !lives(owner) {
            return;
        }
        kill(owner, libc::SIGSTOP);
        until("it is stopped, or has ended", || matches!(state(owner), Some('T' | 'Z')));
        let command = p.holder("ledger").filter(|h| pid_of(&h["process"]) == owner && !h["covers"].is_null());
        let command = command.map(|h| pid_of(&h["covers"]));
        match command {
            // The wrapper cannot reap it now, so its id stays its own.
            Some(command) if lives(command) && the_command => {
                kill(command, libc::SIGSTOP);
                until("it is stopped, or has ended", || matches!(state(command), Some('T' | 'Z')));
                if state(command) == Some('T') {
                    kill(command, libc::SIGKILL);
                    self.hits.fetch_add(1, Ordering::SeqCst);
                }
                kill(owner, libc::SIGCONT);
            }
            Some(command) if lives(command) => {
                kill(owner, libc::SIGKILL);
                self.hits.fetch_add(1, Ordering::SeqCst);
            }
            _ => kill(owner, libc::SIGCONT),
        }
    }

    fn kill_anyone(&self, p: &Place, running: &Mutex<Vec<u32>>, random: u64) {
        let all = running.lock().expect("no panic");
        if all.is_empty() {
            return;
        }
        let wrapper = all[random as usize % all.len()];
        if random >> 32 & 1 == 0 {
            kill(wrapper, libc::SIGKILL);
            self.maybe.fetch_add(1, Ordering::SeqCst);
            return;
        }
        // The command of some owner: still a child of a wrapper of ours, or a zombie of it.
        let Some(holder) = p.holder("ledger").filter(|h| !h["covers"].is_null()) else { return };
        let (owner, command) = (pid_of(&holder["process"]), pid_of(&holder["covers"]));
        if all.contains(&owner) && parent(command) == Some(owner) {
            // SAFETY: plain numbers. At worst it has just ended and been reaped; pids do not come round within microseconds.
            unsafe { libc::kill(command as libc::pid_t, libc::SIGKILL) };
        }
    }
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].split(' ').nth(1)?.parse().ok()
}

/// How many deaths a line of xsem reports: none, one, or "... (and N before it, ...)".
fn deaths_in(said: &str, after: &str) -> u64 {
    let Some(i) = said.find(after) else { return 0 };
    match said[i..].split_once(" (and ") {
        None => 1,
        Some((_, rest)) => 1 + rest.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0),
    }
}

/// See `examples/rename.sh`: the link says that the temporary file was complete, its absence that it was renamed.
fn renames_done(dir: &Path) -> usize {
    let names: Vec<String> = fs::read_dir(dir)
        .expect("the directory")
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.iter().filter_map(|n| n.strip_prefix("made.")).filter(|id| !names.contains(&format!("next.{id}"))).count()
}
