//! Codes of Win32, OS/2 and NT that people look up here and that this system does not say.

use xsem::Code;

/// A number that this system does not say, and what it says instead.
#[derive(Debug, PartialEq, Eq)]
pub struct Other {
    /// Its number.
    pub number: u32,
    /// Its symbol.
    pub symbol: &'static str,
    /// What it means where it comes from.
    pub text: &'static str,
    /// What this system says instead.
    pub instead: &'static str,
    /// The codes that are meant there.
    pub see: &'static [Code],
}

/// An NTSTATUS, and the Win32 number that Windows makes of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Status {
    /// The 32 bits.
    pub value: u32,
    /// Its symbol.
    pub symbol: &'static str,
    /// The Win32 number.
    pub number: u32,
}

macro_rules! others {
    ($($number:literal $symbol:literal, $text:literal => $instead:literal, [$($see:ident),*];)*) => {
        /// In the order of the numbers.
        pub const OTHERS: &[Other] = &[$(Other {
            number: $number, symbol: $symbol, text: $text, instead: $instead, see: &[$(Code::$see),*],
        },)*];
    };
}

others! {
    2 "ERROR_FILE_NOT_FOUND", "what Win32 says when a semaphore is opened that does not exist"
        => "187: there is no semaphore of this name", [SemNotFound];
    31 "ERROR_GEN_FAILURE", "it failed, and nobody says why; Windows makes it of STATUS_UNSUCCESSFUL"
        => "nothing: every error here has a reason of its own", [];
    33 "ERROR_LOCK_VIOLATION", "another process has locked a part of the file"
        => "101 for a request that does not wait, 121 for one whose time is up", [ExclSemAlreadyOwned, SemTimeout];
    36 "ERROR_SHARING_BUFFER_EXCEEDED", "too many files are shared or locked"
        => "100 when the namespace is full, 8 when the system is", [TooManySemaphores, NotEnoughMemory];
    128 "ERROR_WAIT_NO_CHILDREN", "there are no children to wait for; WAIT_ABANDONED is the same number"
        => "105 for what WAIT_ABANDONED means: owned, and the previous owner died", [SemOwnerDied];
    152 "ERROR_TOO_MANY_MUXWAITERS", "too many wait for lists of semaphores (OS/2)"
        => "106 when there are too many processes; a list itself has 1 to 64 entries, else 151",
        [SemUserLimit, InvalidEventCount];
    158 "ERROR_NOT_LOCKED", "what should be unlocked is not locked"
        => "288: the claim is not the caller's (any more)", [NotOwner];
    167 "ERROR_LOCK_FAILED", "a part of a file could not be locked"
        => "101 or 121: somebody else has it; the error says who", [ExclSemAlreadyOwned, SemTimeout];
    170 "ERROR_BUSY", "what was asked for is in use"
        => "102 for a name that cannot be taken away, 101 for a semaphore that is owned", [SemIsSet, ExclSemAlreadyOwned];
    212 "ERROR_LOCKED", "it is locked, and cannot be moved"
        => "102: held or waited for, so it stays", [SemIsSet];
    258 "WAIT_TIMEOUT", "the wait's time is up (what the Win32 wait functions return)"
        => "121: not free in time, with who holds it", [SemTimeout];
    285 "ERROR_DUPLICATE_NAME", "the name of a semaphore exists (OS/2 2.x)"
        => "183 for create; open_or_create takes what is there", [AlreadyExists];
    290 "ERROR_TOO_MANY_HANDLES", "too many semaphores in the system (OS/2 2.x)"
        => "100: the namespace is full", [TooManySemaphores];
    291 "ERROR_TOO_MANY_OPENS", "one semaphore is open too often (OS/2 2.x)"
        => "106: too many processes; handles are not counted", [SemUserLimit];
    299 "ERROR_ALREADY_POSTED", "the event is posted already (OS/2 2.x; Win32 has PARTIAL_COPY there)"
        => "nothing: a signal that changes nothing says so in its answer", [];
    300 "ERROR_ALREADY_RESET", "the event is reset already (OS/2 2.x; Win32 has OPLOCK_NOT_GRANTED there)"
        => "nothing: a reset that changes nothing says so in its answer", [];
    301 "ERROR_SEM_BUSY", "it is owned or waited for, and cannot be closed (OS/2 2.x; Win32 has INVALID_OPLOCK_PROTOCOL there)"
        => "102: held or waited for, so it stays", [SemIsSet];
    554 "ERROR_CANT_WAIT", "it would have to wait, and must not"
        => "101 or 121 for a try; 104 where waiting is forbidden altogether",
        [ExclSemAlreadyOwned, SemTimeout, InvalidAtInterruptTime];
    587 "ERROR_MUTANT_LIMIT_EXCEEDED", "a mutex is nested too deep"
        => "103, above 65,535 levels", [TooManySemRequests];
    640 "ERROR_TIMEOUT", "the wait's time is up (OS/2 2.x)"
        => "121: not free in time, with who holds it", [SemTimeout];
    735 "ERROR_ABANDONED_WAIT_0", "owned, and the previous owner ended without a release (the first of a list)"
        => "105, with who died, since when it had owned it, and how that is known", [SemOwnerDied];
    736 "ERROR_ABANDONED_WAIT_63", "the same for the last of a list"
        => "105; `Error::indices` says which entries", [SemOwnerDied];
    995 "ERROR_OPERATION_ABORTED", "it was cancelled, or its thread has ended"
        => "95 for a wait that was cancelled", [Interrupt];
    1450 "ERROR_NO_SYSTEM_RESOURCES", "the system has not enough of something"
        => "8, with what could not be had", [NotEnoughMemory];
    1460 "ERROR_TIMEOUT", "the time is up"
        => "121: not free in time, with who holds it", [SemTimeout];
}

macro_rules! statuses {
    ($($value:literal $symbol:literal = $number:literal;)*) => {
        /// As `RtlNtStatusToDosError` has them, those about semaphores.
        pub const STATUSES: &[Status] = &[$(Status { value: $value, symbol: $symbol, number: $number },)*];
    };
}

statuses! {
    0x0000_0080 "STATUS_ABANDONED_WAIT_0" = 735;
    0x0000_00BF "STATUS_ABANDONED_WAIT_63" = 736;
    0x0000_0102 "STATUS_TIMEOUT" = 258;
    0xC000_0001 "STATUS_UNSUCCESSFUL" = 31;
    0xC000_0002 "STATUS_NOT_IMPLEMENTED" = 1;
    0xC000_0008 "STATUS_INVALID_HANDLE" = 6;
    0xC000_000D "STATUS_INVALID_PARAMETER" = 87;
    0xC000_0010 "STATUS_INVALID_DEVICE_REQUEST" = 1;
    0xC000_0017 "STATUS_NO_MEMORY" = 8;
    0xC000_0022 "STATUS_ACCESS_DENIED" = 5;
    0xC000_0024 "STATUS_OBJECT_TYPE_MISMATCH" = 6;
    0xC000_0033 "STATUS_OBJECT_NAME_INVALID" = 123;
    0xC000_0034 "STATUS_OBJECT_NAME_NOT_FOUND" = 2;
    0xC000_0035 "STATUS_OBJECT_NAME_COLLISION" = 183;
    0xC000_0046 "STATUS_MUTANT_NOT_OWNED" = 288;
    0xC000_0047 "STATUS_SEMAPHORE_LIMIT_EXCEEDED" = 298;
    0xC000_0054 "STATUS_FILE_LOCK_CONFLICT" = 33;
    0xC000_0059 "STATUS_REVISION_MISMATCH" = 1306;
    0xC000_006D "STATUS_LOGON_FAILURE" = 1326;
    0xC000_007F "STATUS_DISK_FULL" = 112;
    0xC000_009A "STATUS_INSUFFICIENT_RESOURCES" = 1450;
    0xC000_00B5 "STATUS_IO_TIMEOUT" = 121;
    0xC000_00BE "STATUS_BAD_NETWORK_PATH" = 53;
    0xC000_00D8 "STATUS_CANT_WAIT" = 554;
    0xC000_0102 "STATUS_FILE_CORRUPT_ERROR" = 1392;
    0xC000_0120 "STATUS_CANCELLED" = 995;
    0xC000_0191 "STATUS_MUTANT_LIMIT_EXCEEDED" = 587;
    0xC000_0194 "STATUS_POSSIBLE_DEADLOCK" = 1131;
}

#[cfg(test)]
mod tests {
    use super::{OTHERS, STATUSES};
    use xsem::Code;

    #[test]
    fn others_are_in_order_and_none_is_ours() {
        assert!(OTHERS.windows(2).all(|w| w[0].number < w[1].number));
        assert!(OTHERS.iter().all(|o| Code::from_number(o.number).is_none()));
    }

    #[test]
    fn every_status_leads_somewhere() {
        assert!(STATUSES.windows(2).all(|w| w[0].value < w[1].value));
        for s in STATUSES {
            let known = Code::from_number(s.number).is_some() || OTHERS.iter().any(|o| o.number == s.number);
            assert!(known, "{} leads to {}, which nobody explains", s.symbol, s.number);
        }
    }

    /// What is said instead names the codes that it means.
    #[test]
    fn what_is_said_instead_is_named() {
        for o in OTHERS {
            for code in o.see {
                assert!(o.instead.contains(&code.number().to_string()), "{}: {code:?}", o.symbol);
            }
        }
    }
}
