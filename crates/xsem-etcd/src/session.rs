//! A session: one lease of this process, kept alive, and known to be over before the store can end it.
//!
//! The lease is renewed at a third of its time to live. It counts as held until the *sending* of the last renewal that was answered,
//! plus the time to live, less a margin; by a clock that goes on in suspend. When that point passes, or the store says that the lease
//! is gone, the session is lost, for good: it is told to whoever wants to know, and the lease is revoked as soon as that can be sent,
//! since the store may have given it a longer life than it was believed to have (it does so when its leader changes).
//!
//! A session does not exist in a forked child: it is not alive there, and dropping it does nothing.

use crate::client::{Client, within};
use crate::clock;
use crate::contact;
use crate::exit::{self, Leaving};
use crate::fault::{Fault, Result};
use crate::guardian::Guard;
use crate::lease::{self, Renewed};
use crate::life::Life;
use crate::runtime;
use crate::sentry::{self, Watched};
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use xsem::Deadline;

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The store has not answered for so long that the lease may have ended.
    Silence,
    /// The store has ended the lease: it ran out there, or somebody has revoked it.
    Ended,
    /// Its key was deleted, though its lease was there: somebody has reset the namespace.
    Reset,
    /// This process has given it up.
    GivenUp,
    /// This is a forked child: the session is its parent's.
    Forked,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loss::Silence => "the store did not answer in time, and its lease may have ended",
            Loss::Ended => "the store has ended its lease",
            Loss::Reset => "its key was deleted there: somebody has reset the namespace",
            Loss::GivenUp => "it was given up",
            Loss::Forked => "it is the parent's",
        })
    }
}

/// Called once with the reason.
type Callback = Box<dyn FnOnce(Loss) + Send>;

/// A session. Clones are the same one; when the last is dropped, it is given up.
#[derive(Clone)]
pub struct Session(Arc<Handle>);

/// What users have. The tasks of the session have the rest, so that they do not keep it.
struct Handle(Arc<Shared>);

struct Shared {
    client: Client,
    lease: i64,
    ttl: Duration,
    /// The point of [`clock`] from which it may not be relied upon; 0: it is over.
    ends: AtomicU64,
    state: Mutex<State>,
    /// For those who wait for the loss.
    loss: watch::Sender<Option<Loss>>,
    life: Life,
}

/// So many guardians in a row that cannot be started are enough.
const POSTINGS: u32 = 5;

#[derive(Default)]
struct State {
    loss: Option<Loss>,
    callbacks: Vec<Callback>,
    guard: Option<Guard>,
    /// How many could not be started, one after the other; at the next renewal it is tried again, so often.
    unposted: u32,
    /// The child that has to end before the lease may.
    covered: Option<u32>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.0.0;
        f.debug_struct("Session")
            .field("lease", &format_args!("{:x}", s.lease))
            .field("loss", &self.loss())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Makes a lease of the configured life, and keeps it alive from here on; with its guardian, if one is configured.
    ///
    /// # Errors
    /// All of [`Fault`].
    pub async fn start(client: &Client, deadline: Deadline) -> Result<Session> {
        let (lease, Renewed { sent, ttl }) = lease::grant(client, deadline).await?;
        contact::answered();
        let shared = Arc::new(Shared {
            client: client.clone(),
            lease,
            ttl,
            ends: AtomicU64::new(lease::end(sent, ttl)),
            state: Mutex::default(),
            loss: watch::Sender::new(None),
            life: Life::here(),
        });
        sentry::watch(shared.clone())?;
        exit::prepare();
        drop(runtime::spawn(keep_alive(Arc::downgrade(&shared)))?);
        let session = Session(Arc::new(Handle(shared)));
        session.0.0.post_guard();
        Ok(session)
    }

    /// The lease's number: unique for ever, as far as 63 random bits are.
    pub fn lease(&self) -> i64 {
        self.0.0.lease
    }

    /// The lease's time to live, as the store has decided.
    pub fn ttl(&self) -> Duration {
        self.0.0.ttl
    }

    /// Whether it may be relied upon at this moment. A look at the clock; it does not ask the store.
    pub fn is_alive(&self) -> bool {
        !self.left().is_zero()
    }

    /// For how long it may be relied upon if the store does not answer from now on.
    pub fn left(&self) -> Duration {
        let s = &self.0.0;
        match s.life.check() {
            Ok(()) => clock::until(s.ends.load(SeqCst)),
            Err(_) => Duration::ZERO,
        }
    }

    /// Why it is over, if it is. (It may not be alive any more a moment before that is known.)
    pub fn loss(&self) -> Option<Loss> {
        match self.0.0.life.check() {
            Ok(()) => *self.0.0.loss.borrow(),
            Err(_) => Some(Loss::Forked),
        }
    }

    /// Calls this once when it is lost or given up; at once, on the calling thread, if that is so already. Else on the thread that
    /// watches over all leases of the process: be brief, and do not wait for the store there.
    pub fn on_loss(&self, call: impl FnOnce(Loss) + Send + 'static) {
        if self.0.0.life.check().is_err() {
            return call(Loss::Forked);
        }
        let mut state = self.0.0.state();
        match state.loss {
            None => state.callbacks.push(Box::new(call)),
            Some(loss) => {
                drop(state);
                call(loss);
            }
        }
    }

    /// Waits until it is lost or given up. A future for any runtime.
    pub async fn lost(&self) -> Loss {
        let mut loss = self.0.0.loss.subscribe();
        loop {
            if let Some(loss) = *loss.borrow_and_update() {
                return loss;
            }
            if loss.changed().await.is_err() {
                return Loss::GivenUp;
            }
        }
    }

    /// The store has said, in an answer to somebody else, that there is no such lease.
    pub fn is_gone(&self) {
        self.0.0.lose(Loss::Ended);
    }

    /// The key that goes with the lease is gone: because the lease is, or because somebody has deleted it. Finds out which, and counts it as lost.
    pub fn key_is_gone(&self) {
        let me = self.0.0.clone();
        let _ = runtime::spawn(async move {
            let by = Deadline::after(clock::until(me.ends.load(SeqCst)));
            match lease::renew(&me.client, me.lease, by).await {
                Ok(_) => me.lose(Loss::Reset),
                Err(Fault::NoLease) => me.lose(Loss::Ended),
                // The sentry says when it is over.
                Err(why) => tracing::debug!(%why, "a session's key is gone, and the store does not say why"),
            }
        });
    }

    /// Gives it up: it is not alive from here on, and the lease is revoked in the background.
    pub fn give_up(&self) {
        self.0.0.lose(Loss::GivenUp);
    }

    /// The same, and waits until the store has done it.
    ///
    /// # Errors
    /// `Unreachable`, `Ambiguous`: not by the deadline. It goes on in the background.
    pub async fn close(&self, deadline: Deadline) -> Result<()> {
        self.give_up();
        lease::revoke(&self.0.0.client, self.0.0.lease, deadline).await
    }

    /// Says that the guardian has to wait for the end of this child process, too, before it revokes the lease: it keeps the
    /// lease alive until then. None: for nobody. Nothing without a guardian.
    pub fn cover(&self, pid: Option<u32>) {
        let mut state = self.0.0.state();
        state.covered = pid;
        if let Some(guard) = &mut state.guard {
            guard.cover(pid);
        }
    }

    /// The process id of the guardian, if there is one.
    pub fn guardian(&self) -> Option<u32> {
        self.0.0.state().guard.as_ref().map(Guard::pid)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.0.life.check().is_ok() {
            self.0.lose(Loss::GivenUp);
        }
    }
}

impl Watched for Shared {
    fn ends(&self) -> Option<u64> {
        Some(self.ends.load(SeqCst)).filter(|&e| e != 0)
    }

    fn over(&self) {
        self.lose(Loss::Silence);
        // In this order: whoever is called sees that it is lost.
        let callbacks = std::mem::take(&mut self.state().callbacks);
        let loss = self.state().loss.unwrap_or(Loss::Silence);
        callbacks.into_iter().for_each(|call| call(loss));
    }

    fn give_back(&self, deadline: Deadline) {
        // Covered by a command that is still there: the guardian sees to the rest.
        if self.life.check().is_err() || self.state.try_lock().is_ok_and(|s| s.covered.is_some()) {
            return;
        }
        let (client, lease) = (self.client.clone(), self.lease);
        if let Ok(mut task) = runtime::spawn(async move { lease::revoke(&client, lease, deadline).await }) {
            let _ = task.wait(deadline);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is over; the first reason counts. The sentry calls those who want to know.
    fn lose(&self, loss: Loss) {
        let mut state = self.state();
        if state.loss.is_some() {
            return;
        }
        state.loss = Some(loss);
        self.ends.store(0, SeqCst);
        let guard = state.guard.take();
        drop(state);
        tracing::debug!(lease = format_args!("{:x}", self.lease), %loss, "a session is over");
        self.loss.send_replace(Some(loss));
        sentry::look();
        if loss != Loss::Ended {
            let (client, lease) = (self.client.clone(), self.lease);
            let patience = Deadline::after(self.ttl * 3);
            let leaving = Leaving::begin();
            let _ = runtime::spawn(async move {
                if let Err(why) = lease::revoke(&client, lease, patience).await {
                    tracing::debug!(%why, "a lease was not revoked; it ends by itself");
                }
                drop(leaving);
                // Only now: until then it is the guardian that would do it if this process died.
                drop(guard);
            });
        }
    }

    /// A renewal was answered.
    fn renewed(&self, Renewed { sent, ttl }: Renewed) {
        contact::answered();
        let state = self.state();
        // One that is over stays so, whatever the store says.
        if state.loss.is_none() {
            self.ends.fetch_max(lease::end(sent, ttl), SeqCst);
        }
        drop(state);
    }

    /// Starts another guardian where the first has died, or could not be started: it may have been killed before it said that it was there.
    fn relieve_guard(self: &Arc<Shared>) {
        let mut state = self.state();
        let failed = state.guard.is_none() && (1..=POSTINGS).contains(&state.unposted);
        if failed || state.guard.as_ref().is_some_and(|g| !g.is_there()) {
            state.guard = None;
            drop(state);
            self.post_guard();
        }
    }

    /// Starts the guardian, on a thread, since it takes some milliseconds.
    fn post_guard(self: &Arc<Shared>) {
        let Some(program) = crate::guardian::program(self.client.config()) else { return };
        let me = Arc::downgrade(self);
        let (config, lease) = (self.client.config().clone(), self.lease);
        let body = move || match Guard::start(&program, &config, lease) {
            Ok(mut guard) => {
                if let Some(me) = me.upgrade() {
                    let mut state = me.state();
                    if state.loss.is_none() {
                        guard.cover(state.covered);
                        state.guard = Some(guard);
                        state.unposted = 0;
                    }
                }
            }
            Err(why) => {
                tracing::warn!(%why, "no guardian: the claims of this process end by the lease's time if it dies");
                if let Some(me) = me.upgrade() {
                    me.state().unposted += 1;
                }
            }
        };
        let _ = runtime::without_signals(|| std::thread::Builder::new().name("xsem-guard".into()).spawn(body));
    }
}

/// After this part of its time to live a renewal that was not answered is worth a word.
const SILENT: u32 = 5;

/// Renews at a third of the time to live, until the session is over.
async fn keep_alive(session: Weak<Shared>) {
    let mut loss = match session.upgrade() {
        Some(s) => s.loss.subscribe(),
        None => return,
    };
    loop {
        let Some(s) = session.upgrade() else { return };
        let (client, lease, ttl, ends) = (s.client.clone(), s.lease, s.ttl, s.ends.load(SeqCst));
        drop(s);
        if within(Deadline::after(ttl / 3), loss.changed()).await.is_some() {
            return;
        }
        let sent = clock::now();
        let mut renewal = pin!(lease::renew(&client, lease, Deadline::after(clock::until(ends))));
        let told = tokio::select! {
            told = &mut renewal => told,
            _ = loss.changed() => return,
            () = tokio::time::sleep(ttl / SILENT) => {
                contact::silent(sent, ends);
                tokio::select! {
                    told = renewal => told,
                    _ = loss.changed() => return,
                }
            }
        };
        let Some(s) = session.upgrade() else { return };
        match told {
            Ok(renewed) => {
                s.renewed(renewed);
                s.relieve_guard();
            }
            Err(Fault::NoLease) => return s.lose(Loss::Ended),
            // The sentry says when it is over. A refusal of any other kind may pass.
            Err(why) => {
                tracing::debug!(%why, "a lease was not renewed");
                let pause = ttl / 30;
                if within(Deadline::after(pause), loss.changed()).await.is_some() {
                    return;
                }
            }
        }
    }
}
