//! Known faults, to show that the tools find them: `cargo xtask survive --bugs`.
//!
//! They exist only under `--cfg xsem_seeded`, and there one of them is chosen at run time. Without that, [`seeded`] is a
//! constant `false`, and nothing is left of it.

/// A fault that somebody could make here, and that some have made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
// The model checker builds only a part of the engine.
#[cfg_attr(loom, allow(dead_code))]
pub(crate) enum Bug {
    /// A claim of the dead is ended without looking again whether the entry is still that owner's.
    ReclaimUnchecked,
    /// A release wakes the sleepers, and then says that it is free.
    WakeBeforePublish,
    /// A release says that it is free, and then wakes the sleepers, in a second step.
    ReleaseInTwoSteps,
    /// A free cell is the same in all of its lives, so a stale handle acquires it.
    FreeIsZero,
    /// A release is a store, whatever the word has become.
    ReleaseByStore,
    /// A cell counts as careful although its owner may be in the middle of a plain release.
    TrustUnbooked,
    /// A dead owner's claim is taken over while another thread of it may still be writing.
    GateIgnored,
    /// A dead owner's claim is taken over while the command still runs that it covers.
    CoverIgnored,
    /// A waiter that is stopped keeps its reservation for ever.
    NoLapse,
    /// The word says that permits are taken before the ledger says by whom.
    TakenBeforeBooked,
    /// Who evicts does not notice that the holder was faster.
    EvictUnchecked,
    /// Whoever meets a name that is half removed leaves it so.
    RemovalUnfinished,
    /// The flag of a drain stands though its process is dead.
    DeadDrainStands,
    /// A signal is there, and then the sleepers are woken, in a second step.
    SignalInTwoSteps,
    /// A signal is consumed by a store, whoever else has done so.
    ConsumeByStore,
    /// A joint request that is met in the middle counts as over, and may still come true.
    JointLeftOpen,
}

/// All of them, with the names by which they are chosen.
#[cfg(xsem_seeded)]
const BUGS: &[(Bug, &str)] = &[
    (Bug::ReclaimUnchecked, "reclaim-unchecked"),
    (Bug::WakeBeforePublish, "wake-before-publish"),
    (Bug::ReleaseInTwoSteps, "release-in-two-steps"),
    (Bug::FreeIsZero, "free-is-zero"),
    (Bug::ReleaseByStore, "release-by-store"),
    (Bug::TrustUnbooked, "trust-unbooked"),
    (Bug::GateIgnored, "gate-ignored"),
    (Bug::CoverIgnored, "cover-ignored"),
    (Bug::NoLapse, "no-lapse"),
    (Bug::TakenBeforeBooked, "taken-before-booked"),
    (Bug::EvictUnchecked, "evict-unchecked"),
    (Bug::RemovalUnfinished, "removal-unfinished"),
    (Bug::DeadDrainStands, "dead-drain-stands"),
    (Bug::SignalInTwoSteps, "signal-in-two-steps"),
    (Bug::ConsumeByStore, "consume-by-store"),
    (Bug::JointLeftOpen, "joint-left-open"),
];

/// Whether this fault shall be made.
#[cfg(not(xsem_seeded))]
pub(crate) const fn seeded(_: Bug) -> bool {
    false
}

/// The number of the one that was chosen; 0: none, as long as nobody has looked into the environment.
#[cfg(xsem_seeded)]
static CHOSEN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// Chosen: none.
#[cfg(xsem_seeded)]
const NONE: u32 = u32::MAX;

/// What the environment variable `XSEM_BUG` says.
#[cfg(xsem_seeded)]
#[cold]
fn from_environment() -> u32 {
    let name = std::env::var("XSEM_BUG").unwrap_or_default();
    let number = BUGS.iter().find(|(_, n)| *n == name).map_or(NONE, |(b, _)| *b as u32 + 1);
    CHOSEN.store(number, std::sync::atomic::Ordering::Relaxed);
    number
}

/// Whether this fault shall be made.
#[cfg(xsem_seeded)]
pub(crate) fn seeded(bug: Bug) -> bool {
    let chosen = match CHOSEN.load(std::sync::atomic::Ordering::Relaxed) {
        0 => from_environment(),
        n => n,
    };
    chosen == bug as u32 + 1
}

/// Chooses one for this process and the children that it forks, whatever the environment says. The names that there are, if this is none of them.
#[cfg(xsem_seeded)]
pub(crate) fn choose(name: &str) -> Result<(), Vec<&'static str>> {
    let (bug, _) = BUGS.iter().find(|(_, n)| *n == name).ok_or_else(|| BUGS.iter().map(|(_, n)| *n).collect::<Vec<_>>())?;
    CHOSEN.store(*bug as u32 + 1, std::sync::atomic::Ordering::Relaxed);
    Ok(())
}
