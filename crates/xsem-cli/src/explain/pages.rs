//! The pages of `docs/errors`, which travel inside the binary.

use xsem::Code;

macro_rules! pages {
    ($($code:ident = $file:literal,)*) => {
        /// The codes with their pages.
        pub const PAGES: &[(Code, &str)] =
            &[$((Code::$code, include_str!(concat!("../../../../docs/errors/", $file, ".md"))),)*];
    };
}

pages! {
    InvalidFunction = "1-INVALID_FUNCTION",
    AccessDenied = "5-ACCESS_DENIED",
    InvalidHandle = "6-INVALID_HANDLE",
    NotEnoughMemory = "8-NOT_ENOUGH_MEMORY",
    BadNetpath = "53-BAD_NETPATH",
    InvalidParameter = "87-INVALID_PARAMETER",
    Interrupt = "95-INTERRUPT",
    TooManySemaphores = "100-TOO_MANY_SEMAPHORES",
    ExclSemAlreadyOwned = "101-EXCL_SEM_ALREADY_OWNED",
    SemIsSet = "102-SEM_IS_SET",
    TooManySemRequests = "103-TOO_MANY_SEM_REQUESTS",
    InvalidAtInterruptTime = "104-INVALID_AT_INTERRUPT_TIME",
    SemOwnerDied = "105-SEM_OWNER_DIED",
    SemUserLimit = "106-SEM_USER_LIMIT",
    DiskFull = "112-DISK_FULL",
    SemTimeout = "121-SEM_TIMEOUT",
    InvalidName = "123-INVALID_NAME",
    InvalidEventCount = "151-INVALID_EVENT_COUNT",
    InvalidListFormat = "153-INVALID_LIST_FORMAT",
    AlreadyExists = "183-ALREADY_EXISTS",
    SemNotFound = "187-SEM_NOT_FOUND",
    NotOwner = "288-NOT_OWNER",
    TooManyPosts = "298-TOO_MANY_POSTS",
    PossibleDeadlock = "1131-POSSIBLE_DEADLOCK",
    RevisionMismatch = "1306-REVISION_MISMATCH",
    LogonFailure = "1326-LOGON_FAILURE",
    FileCorrupt = "1392-FILE_CORRUPT",
    ClusterNoQuorum = "5925-CLUSTER_NO_QUORUM",
    WinhttpSecureFailure = "12175-WINHTTP_SECURE_FAILURE",
}

#[cfg(test)]
mod tests {
    use super::PAGES;
    use xsem::Code;

    #[test]
    fn every_code_has_its_page_in_the_order_of_the_numbers() {
        let with: Vec<Code> = PAGES.iter().map(|(c, _)| *c).collect();
        assert_eq!(with, Code::ALL);
    }

    /// A file that is not in the list would not travel with the command.
    #[test]
    fn every_file_is_in_the_list() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors");
        let files = std::fs::read_dir(dir).expect("the pages").map(|f| f.expect("an entry").file_name());
        let mut names: Vec<String> = files.map(|f| f.to_string_lossy().into_owned()).filter(|f| f != "README.md").collect();
        let file = |c: &Code| format!("{}-{}.md", c.number(), c.symbol().trim_start_matches("ERROR_"));
        let mut listed: Vec<String> = PAGES.iter().map(|(c, _)| file(c)).collect();
        names.sort();
        listed.sort();
        assert_eq!(names, listed);
    }

    /// Every page names its code in full, and has the sections that the codes' historical pages have.
    #[test]
    fn every_page_is_complete() {
        for (code, page) in PAGES {
            let (n, symbol) = (code.number(), code.symbol());
            assert!(page.starts_with(&format!("# {symbol} - {n} (0x{n:X})\n")), "{symbol}: its first line");
            assert!(page.contains("\nUpdated: "), "{symbol}: its date");
            for section in [
                "Technical meaning",
                "Error details",
                "Usage context",
                "Common causes",
                "Real-world context",
                "Is this error critical?",
                "How to diagnose",
                "How to resolve",
                "Developer notes",
                "Related errors",
                "FAQ",
                "Summary",
            ] {
                assert!(page.contains(&format!("\n## {section}\n")), "{symbol}: no section {section}");
            }
            for step in 1..=5 {
                assert!(page.contains(&format!("\n{step}. ")), "{symbol}: step {step} of the diagnosis");
            }
            assert!(page.contains("```rust\n") && page.contains("```sh\n"), "{symbol}: code for both kinds of reader");
        }
    }
}
