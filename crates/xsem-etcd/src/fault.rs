//! What can go wrong between here and the store. The engine turns it into codes.

use std::fmt;

/// Why a request was not answered as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// No member could be asked in the time there was. **Nothing was done.** With what the last one said.
    Unreachable(String),
    /// It was sent, and no answer came: **it may have been done, and it may be done yet** (a frozen member passes it on when it
    /// goes on). With what is known.
    Ambiguous(String),
    /// User, password or permission.
    Denied(String),
    /// A certificate, of the store or of this client, is not accepted by the other side: nothing was done.
    Certificate(String),
    /// What was asked for is older than what the store remembers, which begins at this revision (0: not told).
    Compacted(i64),
    /// The lease that was named is not there (any more): nothing was done.
    NoLease,
    /// The store has no space left: nothing was done.
    NoSpace,
    /// The request is larger than the store takes: nothing was done.
    TooLarge(String),
    /// Any other refusal of the store: nothing was done.
    Refused(String),
    /// An option or file of the configuration is wrong.
    Config(String),
    /// This process is a forked child of the one that made the connection.
    Forked,
    /// No thread, no descriptor.
    NoRoom(String),
}

/// The result of what is asked of the store.
pub type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    /// Whether it is certain that nothing was done.
    pub fn is_nothing_done(&self) -> bool {
        !matches!(self, Fault::Ambiguous(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unreachable(why) => write!(f, "no member of the store could be reached: {why}"),
            Fault::Ambiguous(why) => write!(f, "the store has not answered, so it is not known whether it was done: {why}"),
            Fault::Denied(why) => write!(f, "the store refuses this user: {why}"),
            Fault::Certificate(why) => write!(f, "a certificate on the way to the store is not accepted: {why}"),
            Fault::Compacted(0) => f.write_str("the store has forgotten what was asked for"),
            Fault::Compacted(r) => write!(f, "the store has forgotten what is older than revision {r}"),
            Fault::NoLease => f.write_str("the lease has ended"),
            Fault::NoSpace => f.write_str("the store has no space left"),
            Fault::TooLarge(why) => write!(f, "the request is too large for the store: {why}"),
            Fault::Refused(why) => write!(f, "the store refuses: {why}"),
            Fault::Config(why) => f.write_str(why),
            Fault::Forked => f.write_str("the connection belongs to the process that this one was forked from"),
            Fault::NoRoom(why) => write!(f, "no thread or descriptor for the connection: {why}"),
        }
    }
}

impl std::error::Error for Fault {}
