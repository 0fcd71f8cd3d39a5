//! What is asked of the store about a lease.

use crate::client::{Again, Client};
use crate::fault::{Fault, Result};
use crate::{clock, wire};
use std::time::Duration;
use xsem::Deadline;

/// Before the lease can end: a twentieth of its life, at least this, at most a second. What is judged alive is still to be used.
const LEAST_MARGIN: Duration = Duration::from_millis(100);

const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
const REVOKE: &str = "/etcdserverpb.Lease/LeaseRevoke";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// What a lease was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Renewed {
    /// When that was asked for, by [`clock`].
    pub(crate) sent: u64,
    /// Its time to live, from some point after that.
    pub(crate) ttl: Duration,
}

/// From when on a lease that was renewed then may not be relied upon.
pub(crate) fn end(sent: u64, ttl: Duration) -> u64 {
    let margin = (ttl / 20).clamp(LEAST_MARGIN, Duration::from_secs(1));
    sent + clock::nanos(ttl.saturating_sub(margin))
}

/// A new lease, of the configured time to live.
pub(crate) async fn grant(client: &Client, deadline: Deadline) -> Result<(i64, Renewed)> {
    let ttl = client.config().ttl.as_secs_f64().ceil() as i64;
    let lease = random()?;
    let ask = wire::LeaseGrantRequest { ttl, id: lease };
    // The number is ours, so a second grant after a lost answer makes no second lease.
    match client.call::<_, wire::LeaseGrantResponse>(GRANT, ask, Again::UntilAnswered, deadline).await {
        Ok(a) => Ok((lease, Renewed { sent: a.sent, ttl: Duration::from_secs(a.answer.ttl.max(1) as u64) })),
        Err(Fault::Refused(why)) if why.contains("lease already exists") => Ok((lease, renew(client, lease, deadline).await?)),
        Err(fault) => Err(fault),
    }
}

/// A number for a lease, which is positive.
fn random() -> Result<i64> {
    let mut bytes = [0u8; 8];
    // SAFETY: eight bytes are written to where there are eight.
    let n = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), 8, 0) };
    match i64::from_ne_bytes(bytes) & i64::MAX {
        id if n == 8 && id != 0 => Ok(id),
        _ => Err(Fault::NoRoom("no random number".into())),
    }
}

/// One renewal.
pub(crate) async fn renew(client: &Client, lease: i64, deadline: Deadline) -> Result<Renewed> {
    let ask = wire::LeaseKeepAliveRequest { id: lease };
    let done = client.call_stream::<_, wire::LeaseKeepAliveResponse>(KEEP_ALIVE, ask, deadline).await?;
    match done.answer.ttl {
        ttl if ttl > 0 => Ok(Renewed { sent: done.sent, ttl: Duration::from_secs(ttl as u64) }),
        _ => Err(Fault::NoLease),
    }
}

/// The seconds that a lease has left.
pub(crate) async fn time_left(client: &Client, lease: i64, deadline: Deadline) -> Result<i64> {
    life(client, lease, deadline).await.map(|(left, _)| left)
}

/// The seconds that a lease has left, and those that it is given with each renewal.
pub(crate) async fn life(client: &Client, lease: i64, deadline: Deadline) -> Result<(i64, i64)> {
    let ask = wire::LeaseTimeToLiveRequest { id: lease, keys: false };
    let path = "/etcdserverpb.Lease/LeaseTimeToLive";
    let done = client.call::<_, wire::LeaseTimeToLiveResponse>(path, ask, Again::UntilAnswered, deadline).await?;
    if done.answer.ttl < 0 { Err(Fault::NoLease) } else { Ok((done.answer.ttl, done.answer.granted_ttl)) }
}

/// Ends a lease, which may have ended already.
pub(crate) async fn revoke(client: &Client, lease: i64, deadline: Deadline) -> Result<()> {
    let ask = wire::LeaseRevokeRequest { id: lease };
    match client.call::<_, wire::LeaseRevokeResponse>(REVOKE, ask, Again::UntilAnswered, deadline).await {
        Ok(_) | Err(Fault::NoLease) => Ok(()),
        Err(fault) => Err(fault),
    }
}
