//! One case: a copy of the template, its damages, and what becomes of the processes that use it.

use super::act::{Actor, CALLS, Held};
use super::damage::Damage;
use super::judge::{Account, LANES};
use super::template::Template;
use crate::random::Random;
use crate::sys::{self, Pid, SharedBox, Status};
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::*;
use std::time::{Duration, Instant};
use xsem::Namespace;

/// What came of it.
#[derive(Default)]
pub struct Done {
    pub finding: Option<String>,
    /// What was done to the file.
    pub what: String,
    pub calls: u64,
    pub slowest: (Duration, &'static str),
}

/// Address space that a process of a case may have: a damaged length must not ask for more. It has 8 MiB of file and a few
/// threads.
const MOST_MEMORY: u64 = 4 << 30;

/// Plays it.
pub fn play(t: &Template, r: &mut Random, n: u64, tell: bool) -> io::Result<Done> {
    let file = t.copy(n, !r.one_in(3))?;
    let done = if r.one_in(4) { in_use(t, r, &file, tell) } else { at_rest(t, r, &file, tell) };
    t.take_away(&file);
    done
}

fn describe(damages: &[Damage]) -> String {
    damages.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Damaged, then opened and used.
fn at_rest(t: &Template, r: &mut Random, file: &Path, tell: bool) -> io::Result<Done> {
    let damages: Vec<Damage> = (0..1 + r.below(3) * r.below(2)).map(|_| Damage::any(t, r)).collect();
    let f = OpenOptions::new().read(true).write(true).open(file)?;
    damages.iter().try_for_each(|d| d.apply(t, &f))?;
    let mut done = Done { what: format!("at rest: {}", describe(&damages)), ..Done::default() };
    if tell {
        println!("{}", done.what);
    }
    let before = t.content(&f)?;
    let account = SharedBox::<Account>::new()?;
    let (seed, steps) = (r.next(), 8 + r.below(30));
    let pid = sys::fork(|| uses(file, &account, seed, 1, steps))?;
    done.judge(&[(pid, &account)]);
    // What was refused as a whole is left as it was.
    let refused = account.refused.load(SeqCst);
    if matches!(refused, 1306 | 1392) && t.content(&f)? != before {
        done.finding.get_or_insert(format!("it was refused ({refused}), and it was changed"));
    }
    if damages.iter().any(Damage::changes_len) && f.metadata()?.len() != t.len && refused == 0 && done.finding.is_none() {
        done.finding = Some("its length is wrong, and it was opened".into());
    }
    Ok(done)
}

/// Damaged again and again while two processes use it.
fn in_use(t: &Template, r: &mut Random, file: &Path, tell: bool) -> io::Result<Done> {
    let accounts = [SharedBox::<Account>::new()?, SharedBox::<Account>::new()?];
    let mut players: Vec<(Pid, &Account)> = Vec::new();
    for account in &accounts {
        let seed = r.next();
        players.push((sys::fork(|| uses(file, account, seed, LANES, u64::MAX))?, account));
    }
    let end = Instant::now() + Duration::from_secs(10);
    while accounts.iter().any(|a| a.ready.load(SeqCst) == 0) && Instant::now() < end {
        sys::nap(200);
    }
    let f = OpenOptions::new().read(true).write(true).open(file)?;
    let mut damages = Vec::new();
    for _ in 0..1 + r.below(6) {
        sys::nap(r.below(8000));
        let damage = Damage::any(t, r);
        damage.apply(t, &f)?;
        damages.push(damage);
    }
    sys::nap(r.below(30_000));
    accounts.iter().for_each(|a| a.over.store(1, SeqCst));
    let mut done = Done { what: format!("in use: {}", describe(&damages)), ..Done::default() };
    if tell {
        println!("{}", done.what);
    }
    done.judge(&players);
    Ok(done)
}

/// A process that uses the file.
fn uses(file: &Path, account: &Account, seed: u64, threads: usize, steps: u64) {
    restrain(account);
    let path = file.display().to_string();
    let ns = account.call(0, 0, || Namespace::builder().create(false).open(&format!("shm:{path}")));
    account.ready.store(1, SeqCst);
    let ns = match ns {
        Ok(ns) => ns,
        Err(e) => {
            account.refused.store(e.code().number(), SeqCst);
            return match e.code().number() {
                // These name it in their own way.
                1306 | 1392 if e.to_string().contains(&path) => {}
                100 | 187 => {}
                n => account.say(&format!("it cannot be opened, which gives {n}: {e}")),
            };
        }
    };
    std::thread::scope(|scope| {
        for lane in 0..threads {
            let (ns, path) = (&ns, &path);
            scope.spawn(move || {
                let mut r = Random::new(seed ^ lane as u64);
                let (actor, mut held) = (Actor { ns, account, file: path, lane }, Held::default());
                for _ in 0..steps {
                    if account.over.load(Relaxed) != 0 {
                        break;
                    }
                    actor.step(&mut r, &mut held);
                }
                actor.leave(held);
            });
        }
    });
}

/// Limits for the calling process, and its last words.
fn restrain(account: &Account) {
    let account: *const Account = account;
    let account = account as usize;
    std::panic::set_hook(Box::new(move |why| {
        // SAFETY: shared memory that is not unmapped before the process ends.
        unsafe { &*(account as *const Account) }.say(&format!("a panic: {why}"));
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(101) };
    }));
    let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let memory = libc::rlimit { rlim_cur: MOST_MEMORY, rlim_max: MOST_MEMORY };
    // SAFETY: valid limits, for the calling process.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &no_core);
        // A sanitizer's own tables need all of it.
        if std::env::var_os("XSEM_FUZZ_ANY_MEMORY").is_none() {
            libc::setrlimit(libc::RLIMIT_AS, &memory);
        }
    }
}

impl Done {
    /// Waits for the ends of the processes, and judges them.
    fn judge(&mut self, players: &[(Pid, &Account)]) {
        for (pid, account) in players {
            let end = loop {
                match sys::wait(*pid, false) {
                    Status::Running => {}
                    ended => break Ok(ended),
                }
                if let Some(call) = account.hangs(sys::processor_time(*pid)) {
                    break Err(call);
                }
                sys::nap(300);
            };
            self.calls += account.calls.load(Relaxed);
            self.slowest = self.slowest.max(account.slowest(&CALLS));
            let during = || account.last().iter().map(|c| CALLS[*c as usize]).collect::<Vec<_>>().join(", ");
            let wrong = match end {
                Err(call) => {
                    if std::env::var_os("XSEM_FUZZ_KEEP").is_some() {
                        println!("pid {pid} hangs; it is kept for a minute");
                        sys::nap(60_000_000);
                    }
                    sys::end(*pid);
                    Some(format!("`{}` does not end", CALLS[call as usize]))
                }
                Ok(Status::Exited(0)) => None,
                Ok(Status::Exited(_)) => Some(format!("ended early during `{}`", during())),
                Ok(other) => Some(format!("{other:?} during `{}`", during())),
            };
            let wrong = account.said().or(wrong);
            if self.finding.is_none() {
                self.finding = wrong;
            }
        }
    }
}
