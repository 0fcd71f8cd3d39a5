//! The codes: number, symbol, one line, and whether asking again can help, in one table.

use std::fmt;

/// Whether asking again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retryable {
    /// The same request can succeed later, by itself: it is a matter of time.
    Yes,
    /// A request can succeed after its caller has changed something: it opens again, gives something up.
    AfterChange,
    /// No: it gives the same answer until a person or the program changes something.
    No,
}

impl fmt::Display for Retryable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Retryable::Yes => "yes",
            Retryable::AfterChange => "after a change",
            Retryable::No => "no",
        })
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $n:literal, $symbol:literal, $text:literal, $retry:ident $when:literal;)*) => {
        /// A condition of this system, under the number that Win32 gives it (95 is OS/2's).
        ///
        /// `xsem explain N` prints the page of a code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(u32)]
        pub enum Code { $($(#[$doc])* $name = $n,)* }

        impl Code {
            /// Every code of the table, in the order of the numbers.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The symbol, such as `ERROR_EXCL_SEM_ALREADY_OWNED`.
            pub fn symbol(self) -> &'static str {
                match self { $(Code::$name => $symbol,)* }
            }

            /// What it means, in one line without the facts of an occurrence.
            pub fn text(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// Whether asking again can help: what the page of the code says, and what [`crate::retry`] goes by.
            pub fn retryable(self) -> Retryable {
                match self { $(Code::$name => Retryable::$retry,)* }
            }

            /// The condition of [`Code::retryable`], such as "as soon as the owner has released or died".
            pub fn retryable_when(self) -> &'static str {
                match self { $(Code::$name => $when,)* }
            }

            /// The code with this number.
            pub fn from_number(n: u32) -> Option<Code> {
                match n { $($n => Some(Code::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// An operation that the object's kind does not have.
    InvalidFunction = 1, "ERROR_INVALID_FUNCTION", "the object's kind does not have this operation",
        No "the kind does not get the operation by asking again";
    /// No permission, or a file that is not what it should be.
    AccessDenied = 5, "ERROR_ACCESS_DENIED", "access is denied",
        No "not before somebody changes an owner, a mode or the path";
    /// The handle's object was removed, or the name is of another kind.
    InvalidHandle = 6, "ERROR_INVALID_HANDLE", "the handle is stale or of another kind",
        AfterChange "after opening it again; the same handle gives the same answer for ever";
    /// No memory, no room, no thread.
    NotEnoughMemory = 8, "ERROR_NOT_ENOUGH_MEMORY", "not enough memory",
        Yes "when the shortage passes; a limit that is too low has to be raised";
    /// The store of a namespace across machines cannot be reached, or does not answer.
    BadNetpath = 53, "ERROR_BAD_NETPATH", "the store of the namespace cannot be reached",
        Yes "when the store, or the network on the way to it, is there again";
    /// A parameter out of range.
    InvalidParameter = 87, "ERROR_INVALID_PARAMETER", "a parameter is wrong",
        No "not with this parameter";
    /// A wait was cancelled by its token.
    Interrupt = 95, "ERROR_INTERRUPT", "the wait was cancelled",
        AfterChange "with a token that is not cancelled";
    /// No room for another semaphore.
    TooManySemaphores = 100, "ERROR_TOO_MANY_SEMAPHORES", "no room for another semaphore",
        Yes "when others have removed names or given permits back";
    /// Somebody else owns the exclusive semaphore.
    ExclSemAlreadyOwned = 101, "ERROR_EXCL_SEM_ALREADY_OWNED", "the exclusive semaphore is owned by another process",
        Yes "as soon as the owner has released or died";
    /// Somebody holds or waits for it, so it cannot be closed or removed.
    SemIsSet = 102, "ERROR_SEM_IS_SET", "the semaphore is set and cannot be closed",
        Yes "when the holders and waiters have ended, or it is opened again";
    /// Nested too deep, or too many claims.
    TooManySemRequests = 103, "ERROR_TOO_MANY_SEM_REQUESTS", "the semaphore cannot be requested again",
        No "not before the caller has released something";
    /// Requested inside a signal handler or a declared scope.
    InvalidAtInterruptTime = 104, "ERROR_INVALID_AT_INTERRUPT_TIME", "cannot request exclusive semaphores at interrupt time",
        No "the same place gives the same answer";
    /// Owned now, but the previous owner died.
    SemOwnerDied = 105, "ERROR_SEM_OWNER_DIED", "the previous owner of the semaphore has ended",
        No "nothing failed: the semaphore is owned, and has to be checked";
    /// No free member slot in the namespace.
    SemUserLimit = 106, "ERROR_SEM_USER_LIMIT", "too many processes use the namespace",
        Yes "when a member has ended";
    /// The store has no space left.
    DiskFull = 112, "ERROR_DISK_FULL", "the store of the namespace has no space left",
        Yes "when somebody has made room in the store and ended its alarm";
    /// The time ran out.
    SemTimeout = 121, "ERROR_SEM_TIMEOUT", "the semaphore was not free in time",
        Yes "with a new place in the queue; a longer wait is better";
    /// Not a name.
    InvalidName = 123, "ERROR_INVALID_NAME", "the name is not allowed",
        No "the same name gives the same answer";
    /// A list of waits is empty or too long.
    InvalidEventCount = 151, "ERROR_INVALID_EVENT_COUNT", "the list has no entries or too many",
        No "not with the same list";
    /// A list of waits has strangers or duplicates.
    InvalidListFormat = 153, "ERROR_INVALID_LIST_FORMAT", "the list has duplicates or several namespaces",
        No "not with the same list";
    /// The name exists.
    AlreadyExists = 183, "ERROR_ALREADY_EXISTS", "the name exists already",
        No "not as long as the name is there";
    /// No such name.
    SemNotFound = 187, "ERROR_SEM_NOT_FOUND", "there is no semaphore of this name",
        AfterChange "when somebody has made it";
    /// The caller does not own it.
    NotOwner = 288, "ERROR_NOT_OWNER", "the caller does not own the semaphore",
        No "the claim does not come back";
    /// Above the limit.
    TooManyPosts = 298, "ERROR_TOO_MANY_POSTS", "the permits would exceed the limit",
        Yes "when some have been used up";
    /// Waiting would close a cycle.
    PossibleDeadlock = 1131, "ERROR_POSSIBLE_DEADLOCK", "waiting would close a cycle of waits",
        AfterChange "after giving up what the others wait for";
    /// A file of another version of the format.
    RevisionMismatch = 1306, "ERROR_REVISION_MISMATCH", "the namespace file is of another version",
        No "not before the programs are of one release";
    /// The store does not believe who this is.
    LogonFailure = 1326, "ERROR_LOGON_FAILURE", "the store of the namespace does not know this user or password",
        No "not with this user and password";
    /// The file is damaged.
    FileCorrupt = 1392, "ERROR_FILE_CORRUPT", "the namespace file is damaged",
        No "not before it is repaired";
    /// Most members of the store are missing.
    ClusterNoQuorum = 5925, "ERROR_CLUSTER_NO_QUORUM", "the store of the namespace has no majority of its members",
        Yes "when most of its members run and see each other again";
    /// A certificate is not what it should be.
    WinhttpSecureFailure = 12175, "ERROR_WINHTTP_SECURE_FAILURE", "a certificate on the way to the store is not accepted",
        No "not before a certificate or an option is changed";
}

impl Code {
    /// Whether it is about a network: only engines of namespaces across machines say it, and the library alone never does.
    pub fn is_of_a_network(self) -> bool {
        use Code::{BadNetpath, ClusterNoQuorum, DiskFull, LogonFailure, WinhttpSecureFailure};
        matches!(self, BadNetpath | DiskFull | LogonFailure | ClusterNoQuorum | WinhttpSecureFailure)
    }

    /// Whether the same request can succeed later, by itself ([`Retryable::Yes`]).
    pub fn is_retryable(self) -> bool {
        self.retryable() == Retryable::Yes
    }

    /// The number.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// Finds a code by what people write: `101`, `0x65`, `ERROR_EXCL_SEM_ALREADY_OWNED`, `EXCL_SEM_ALREADY_OWNED`, in
    /// any case.
    pub fn parse(text: &str) -> Option<Code> {
        let t = text.trim();
        let n = match t.strip_prefix("0x").or_else(|| t.strip_prefix("0X")) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => t.parse().ok(),
        };
        if let Some(n) = n {
            return Code::from_number(n);
        }
        let want = t.to_ascii_uppercase();
        Code::ALL.iter().copied().find(|c| c.symbol() == want || c.symbol().strip_prefix("ERROR_") == Some(&want))
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn found_by_number_hex_and_symbol() {
        for t in ["101", "0x65", "ERROR_EXCL_SEM_ALREADY_OWNED", "excl_sem_already_owned"] {
            assert_eq!(Code::parse(t), Some(Code::ExclSemAlreadyOwned), "{t}");
        }
        assert_eq!(Code::parse("99"), None);
        assert_eq!(Code::parse("nonsense"), None);
    }

    #[test]
    fn only_what_time_mends_is_retryable() {
        let yes: Vec<u32> = Code::ALL.iter().filter(|c| c.is_retryable()).map(|c| c.number()).collect();
        assert_eq!(yes, [8, 53, 100, 101, 102, 106, 112, 121, 298, 5925]);
        assert!(Code::ALL.iter().all(|c| !c.retryable_when().is_empty()));
    }

    #[test]
    fn numbers_rise_and_come_back() {
        assert!(Code::ALL.windows(2).all(|w| w[0].number() < w[1].number()));
        assert!(Code::ALL.iter().all(|&c| Code::from_number(c.number()) == Some(c)));
    }
}
