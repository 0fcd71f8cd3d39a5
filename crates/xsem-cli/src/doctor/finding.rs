//! What `doctor` can find: one table.

use serde::Serialize;

/// How bad a finding is. The exit code says the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Somebody should look at it.
    Warning,
    /// Somebody waits in vain, or will be refused.
    Trouble,
}

impl Severity {
    /// As it stands before a line.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Trouble => "TROUBLE",
        }
    }
}

macro_rules! kinds {
    ($($name:ident = $word:literal, $code:literal;)*) => {
        /// Each thing that can be found.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($name,)* }

        impl Kind {
            /// All of them.
            #[cfg(test)]
            pub const ALL: &'static [Kind] = &[$(Kind::$name,)*];

            /// As programs know it.
            pub fn word(self) -> &'static str {
                match self { $(Kind::$name => $word,)* }
            }

            /// The page that says more.
            pub fn code(self) -> u32 {
                match self { $(Kind::$name => $code,)* }
            }
        }
    };
}

// In the order in which those of one severity are told. `docs/doctor.md` has a row for each.
kinds! {
    StoreUnreachable = "store-unreachable", 53;
    NoMajority = "no-majority", 5925;
    NotLetIn = "not-let-in", 1326;
    StoreAlarm = "store-alarm", 112;
    Deadlock = "deadlock", 1131;
    Damaged = "damaged", 1392;
    OtherVersion = "other-version", 1306;
    NotAllowed = "not-allowed", 5;
    NetworkFileSystem = "network-file-system", 5;
    OldFileInUse = "old-file-in-use", 6;
    OwnerStopped = "owner-stopped", 101;
    MainThreadEnded = "main-thread-ended", 101;
    DumpingCore = "dumping-core", 105;
    OwnerDead = "owner-dead", 105;
    CommandOutlives = "command-outlives", 105;
    OwnerUnseen = "owner-unseen", 101;
    HeldLong = "held-long", 121;
    MemberSilent = "member-silent", 53;
    QuotaNear = "quota-near", 112;
    StoreSlow = "store-slow", 53;
    LeaseNearEnd = "lease-near-end", 288;
    Marked = "marked", 105;
    Drained = "drained", 102;
    Waiting = "waiting", 121;
    TypeMismatch = "kind-mismatch", 6;
    LimitMismatch = "limit-mismatch", 87;
    DeadlockLately = "deadlock-lately", 1131;
    TimedOutLately = "timed-out-lately", 121;
    NoSuchName = "no-such-name", 187;
    NoNamespace = "no-namespace", 187;
    ClaimOver = "claim-over", 288;
    TableNearlyFull = "table-nearly-full", 100;
    RoomNearlyGone = "room-nearly-gone", 100;
    FewDescriptors = "few-descriptors", 8;
    WipedAtLogout = "wiped-at-logout", 6;
    Leak = "leak", 1392;
    Leftover = "leftover", 8;
    MemberUnnamed = "member-unnamed", 53;
    PausesSeen = "pauses-seen", 288;
    NoFutexWaitv = "no-futex-waitv", 121;
    NoRseq = "no-rseq", 104;
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Finding {
    pub kind: Kind,
    pub severity: Severity,
    /// The semaphore that it is about.
    pub name: Option<String>,
    /// What was found.
    pub what: String,
    /// What to do.
    pub todo: String,
}

impl Finding {
    /// About everything.
    pub fn new(kind: Kind, severity: Severity, what: impl Into<String>, todo: impl Into<String>) -> Finding {
        Finding { kind, severity, name: None, what: what.into(), todo: todo.into() }
    }

    /// About one semaphore.
    pub fn of(mut self, name: &str) -> Finding {
        self.name = Some(name.to_owned());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    /// What cannot be provoked on any machine is provoked in a model of one: a directory of files, a number.
    const IN_A_MODEL: &[(Kind, &str, &str)] = &[
        (Kind::WipedAtLogout, include_str!("system.rs"), "fn a_login_that_wipes_shared_memory"),
        (Kind::NetworkFileSystem, include_str!("file.rs"), "fn a_file_system_that_other_machines_see"),
    ];

    #[test]
    fn each_finding_is_provoked_by_a_test_and_has_its_row_and_its_page() {
        let tests = concat!(
            include_str!("../../tests/doctor/owners.rs"),
            include_str!("../../tests/doctor/waits.rs"),
            include_str!("../../tests/doctor/file.rs"),
            include_str!("../../tests/doctor/environment.rs"),
            include_str!("../../tests/doctor/machine.rs"),
            include_str!("../../tests/doctor/store.rs"),
        );
        let tests: String = tests.split_whitespace().collect();
        let page = include_str!("../../../../docs/doctor.md");
        for kind in Kind::ALL {
            let word = kind.word();
            let model = IN_A_MODEL.iter().any(|(k, text, test)| k == kind && text.contains(test));
            assert!(model || tests.contains(&format!("must(\"{word}\"")), "nothing provokes {word}");
            assert!(page.contains(&format!("| `{word}` |")), "docs/doctor.md has no row for {word}");
            assert!(xsem::Code::from_number(kind.code()).is_some(), "{word} has no page");
        }
    }
}
