//! Whether the store answers, for programs that say so to their user: what waits and what holds goes on in silence otherwise.

use crate::clock;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// A change of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Contact {
    /// A renewal of this process's lease was not answered for so long.
    Silent {
        /// For how long.
        time: Duration,
        /// What it owns counts as lost after this time, unless the store answers before.
        left: Duration,
    },
    /// It answers again.
    Back {
        /// Since the first renewal that was not answered.
        after: Duration,
    },
}

type Call = Box<dyn Fn(Contact) + Send + Sync>;

static CALL: OnceLock<Call> = OnceLock::new();
/// The point of [`clock`] at which the silence began; 0: there is none.
static SINCE: AtomicU64 = AtomicU64::new(0);

/// Calls this when a store that this process has a session in does not answer any more, and when it does again: once each. On a thread that
/// renews leases: be brief. The first call of this function counts.
///
/// ```
/// xsem_etcd::on_contact(|contact| eprintln!("{contact:?}"));
/// ```
pub fn on_contact(call: impl Fn(Contact) + Send + Sync + 'static) {
    let _ = CALL.set(Box::new(call));
}

/// A renewal that was sent then is not answered; the lease ends then.
pub(crate) fn silent(sent: u64, ends: u64) {
    if SINCE.compare_exchange(0, sent, SeqCst, SeqCst).is_ok() {
        tell(Contact::Silent { time: Duration::from_nanos(clock::now().saturating_sub(sent)), left: clock::until(ends) });
    }
}

/// A lease was granted, or renewed.
pub(crate) fn answered() {
    match SINCE.swap(0, SeqCst) {
        0 => {}
        since => tell(Contact::Back { after: Duration::from_nanos(clock::now().saturating_sub(since)) }),
    }
}

fn tell(contact: Contact) {
    if let Some(call) = CALL.get() {
        call(contact);
    }
}
