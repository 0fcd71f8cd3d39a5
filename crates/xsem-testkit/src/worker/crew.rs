//! The threads of one actor, which share handles and take commands.

use super::player::Player;
use crate::protocol::{Answer, Verb};
use std::collections::HashMap;
use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use xsem::{CancelToken, Counting, Event, Exclusive, Namespace, OwnedPermit};

/// An open semaphore.
#[derive(Clone, Debug)]
pub(super) enum Sem {
    Exclusive(Exclusive),
    Counting(Counting),
    Event(Event),
}

/// The same for guards to borrow for ever: that way the tests go through the borrowing guard's uncontended path, which is
/// the one that most programs use.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lent {
    Exclusive(&'static Exclusive),
    Counting(&'static Counting),
    Event(&'static Event),
}

/// A handle of the actor. It is leaked when somebody acquires through it, and not before: so one that nobody acquired
/// through can really be closed.
#[derive(Debug)]
struct Opened {
    sem: Sem,
    lent: Option<Lent>,
}

/// What the threads of an actor share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ns: Namespace,
    pub(super) elsewhere: Option<Namespace>,
    handles: Mutex<Vec<Option<Opened>>>,
    cancels: Mutex<HashMap<u32, CancelToken>>,
    parcels: Mutex<HashMap<u32, Vec<OwnedPermit>>>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().expect("no thread panics with it")
}

impl Shared {
    /// The semaphore of a handle, to look at or to change.
    pub(super) fn sem(&self, i: usize) -> Option<Sem> {
        lock(&self.handles).get(i)?.as_ref().map(|o| o.sem.clone())
    }

    /// The semaphore of a handle, to acquire.
    pub(super) fn lent(&self, i: usize) -> Option<Lent> {
        let mut handles = lock(&self.handles);
        let opened = handles.get_mut(i)?.as_mut()?;
        let lend = || match opened.sem.clone() {
            Sem::Exclusive(s) => Lent::Exclusive(Box::leak(Box::new(s))),
            Sem::Counting(s) => Lent::Counting(Box::leak(Box::new(s))),
            Sem::Event(s) => Lent::Event(Box::leak(Box::new(s))),
        };
        Some(*opened.lent.get_or_insert_with(lend))
    }

    /// A new handle; its number.
    pub(super) fn keep(&self, sem: Sem) -> usize {
        let mut all = lock(&self.handles);
        all.push(Some(Opened { sem, lent: None }));
        all.len() - 1
    }

    /// Closes a handle, which stays when that is refused. `None`: there is no such handle.
    pub(super) fn close(&self, i: usize) -> Option<xsem::Result<()>> {
        let mut all = lock(&self.handles);
        let opened = all.get_mut(i)?.take()?;
        let (lent, refused) = match opened.sem {
            Sem::Exclusive(s) => (opened.lent, s.close().map_err(|(s, e)| (Sem::Exclusive(s), e))),
            Sem::Counting(s) => (opened.lent, s.close().map_err(|(s, e)| (Sem::Counting(s), e))),
            Sem::Event(s) => (opened.lent, s.close().map_err(|(s, e)| (Sem::Event(s), e))),
        };
        Some(refused.map_err(|(sem, e)| {
            all[i] = Some(Opened { sem, lent });
            e
        }))
    }

    /// What cancels the command that this thread carries out now.
    pub(super) fn cancel_of(&self, thread: u32) -> CancelToken {
        lock(&self.cancels).get(&thread).cloned().unwrap_or_default()
    }

    /// Permits on their way to another thread.
    pub(super) fn give(&self, thread: u32, permit: OwnedPermit) {
        lock(&self.parcels).entry(thread).or_default().push(permit);
    }

    /// Permits that others gave to this thread.
    pub(super) fn take(&self, thread: u32) -> Vec<OwnedPermit> {
        lock(&self.parcels).remove(&thread).unwrap_or_default()
    }
}

/// Where answers go.
pub type Say = Arc<dyn Fn(u32, Answer) + Send + Sync>;

/// The threads of one actor.
pub struct Crew {
    shared: Arc<Shared>,
    threads: HashMap<u32, Sender<Verb>>,
    say: Say,
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Crew {
    /// No threads yet, on this namespace; answers go to `say`.
    pub fn new(ns: Namespace, elsewhere: Option<Namespace>, say: Say) -> Crew {
        let shared = Shared { ns, elsewhere, handles: Mutex::default(), cancels: Mutex::default(), parcels: Mutex::default() };
        Crew { shared: Arc::new(shared), threads: HashMap::new(), say }
    }

    /// Tells a thread what to do; it is started when it is first spoken to.
    pub fn tell(&mut self, thread: u32, verb: Verb) {
        if verb == Verb::Cancel {
            self.shared.cancel_of(thread).cancel();
            return;
        }
        // A token of its own for each command: one that comes early must find the command that it is meant for.
        // (What is done with a future goes by that of its start.)
        if !matches!(verb, Verb::Poll(_) | Verb::Await(_) | Verb::Forsake(_)) {
            lock(&self.shared.cancels).insert(thread, CancelToken::new());
        }
        let ends = verb == Verb::EndThread;
        let (shared, say) = (&self.shared, &self.say);
        let to = self.threads.entry(thread).or_insert_with(|| start(thread, shared.clone(), say.clone()));
        // A thread that is gone had answered its last command already.
        let _ = to.send(verb);
        if ends {
            self.threads.remove(&thread);
        }
    }

    /// The threads that are there.
    pub fn threads(&self) -> Vec<u32> {
        self.threads.keys().copied().collect()
    }
}

fn start(number: u32, shared: Arc<Shared>, say: Say) -> Sender<Verb> {
    let (tell, verbs) = channel();
    std::thread::spawn(move || run(number, shared, &verbs, &say));
    tell
}

fn run(number: u32, shared: Arc<Shared>, verbs: &Receiver<Verb>, say: &Say) {
    let mut player = Player::new(number, shared);
    for verb in verbs {
        match verb {
            Verb::EndThread => {
                // The guards are forgotten, as a thread that is cancelled or leaks them would leave them.
                player.forget();
                ended(number, say.clone());
                return;
            }
            verb => {
                let answer = player.act(&verb);
                say(number, answer);
            }
        }
    }
    player.forget();
}

/// Says `Done` for a thread when it is really gone: the engine may learn of its end in a destructor of thread-local
/// storage, which runs after everything here.
fn ended(number: u32, say: Say) {
    // SAFETY: gettid has no preconditions.
    let tid = unsafe { libc::gettid() };
    std::thread::spawn(move || {
        while std::fs::exists(format!("/proc/self/task/{tid}")).unwrap_or(false) {
            crate::sys::nap(20);
        }
        say(number, Answer::Done);
    });
}
