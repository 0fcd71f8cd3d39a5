//! The Rust code of the pages in `docs/errors`, each block a documentation test. `crates/xsem-cli/tests/pages.rs` holds that every
//! page is here.

macro_rules! pages {
    ($($name:ident = $file:literal,)*) => {
        $(#[doc = include_str!(concat!("../../../docs/errors/", $file, ".md"))]
        pub struct $name;)*
    };
}

pages! {
    P1 = "1-INVALID_FUNCTION",
    P5 = "5-ACCESS_DENIED",
    P6 = "6-INVALID_HANDLE",
    P8 = "8-NOT_ENOUGH_MEMORY",
    P53 = "53-BAD_NETPATH",
    P87 = "87-INVALID_PARAMETER",
    P95 = "95-INTERRUPT",
    P100 = "100-TOO_MANY_SEMAPHORES",
    P101 = "101-EXCL_SEM_ALREADY_OWNED",
    P102 = "102-SEM_IS_SET",
    P103 = "103-TOO_MANY_SEM_REQUESTS",
    P104 = "104-INVALID_AT_INTERRUPT_TIME",
    P105 = "105-SEM_OWNER_DIED",
    P106 = "106-SEM_USER_LIMIT",
    P112 = "112-DISK_FULL",
    P121 = "121-SEM_TIMEOUT",
    P123 = "123-INVALID_NAME",
    P151 = "151-INVALID_EVENT_COUNT",
    P153 = "153-INVALID_LIST_FORMAT",
    P183 = "183-ALREADY_EXISTS",
    P187 = "187-SEM_NOT_FOUND",
    P288 = "288-NOT_OWNER",
    P298 = "298-TOO_MANY_POSTS",
    P1131 = "1131-POSSIBLE_DEADLOCK",
    P1306 = "1306-REVISION_MISMATCH",
    P1326 = "1326-LOGON_FAILURE",
    P1392 = "1392-FILE_CORRUPT",
    P5925 = "5925-CLUSTER_NO_QUORUM",
    P12175 = "12175-WINHTTP_SECURE_FAILURE",
}
