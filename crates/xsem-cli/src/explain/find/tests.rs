//! What people write, and what is found.

use super::{Entry, Found, find};
use xsem::Code;

/// The number that is found, if it is one.
fn one(words: &str) -> Option<u32> {
    match find(words) {
        Found::One(entry, ..) => Some(entry.number()),
        _ => None,
    }
}

fn several(words: &str) -> Vec<u32> {
    match find(words) {
        Found::Several(found) => found.iter().map(|e| e.number()).collect(),
        other => panic!("{words}: {other:?}"),
    }
}

#[test]
fn every_form_of_every_code_is_found() {
    for &code in Code::ALL {
        let (n, symbol) = (code.number(), code.symbol());
        let hresult = 0x8007_0000 | n;
        let forms = [
            n.to_string(),
            format!("0x{n:X}"),
            format!("0x{n:x}"),
            format!("0x{n:04X}"),
            symbol.to_owned(),
            symbol.to_lowercase(),
            symbol.replace("ERROR_", ""),
            format!("{code:?}"),
            format!("xsem::Code::{code:?}"),
            symbol.replace("ERROR_", "").replace('_', " ").to_lowercase(),
            format!("0x{hresult:08X}"),
            format!("{hresult:08x}"),
            hresult.cast_signed().to_string(),
            hresult.to_string(),
            format!("  {n} "),
        ];
        for form in forms {
            assert_eq!(one(&form), Some(n), "{form}");
        }
    }
}

#[test]
fn what_nt_says_is_found_in_each_of_its_forms() {
    for form in ["C0000046", "0xC0000046", "0xc0000046", "-1073741754", "3221225542", "STATUS_MUTANT_NOT_OWNED", "0xD0000046"] {
        assert_eq!(one(form), Some(288), "{form}");
    }
    for form in ["mutant_not_owned", "MutantNotOwned"] {
        assert_eq!(one(form), Some(288), "{form}");
    }
    assert_eq!(one("STATUS_UNSUCCESSFUL"), Some(31));
    assert_eq!(one("0xC0000001"), Some(31));
    assert_eq!(one("STATUS_INVALID_HANDLE"), Some(6));
    assert_eq!(one("80000065"), None, "80000065 is a number of eight digits without a meaning here");
}

#[test]
fn numbers_that_others_say_are_known() {
    for n in [33, 36, 128, 152, 158, 167, 170, 212, 258, 299, 300, 301, 554, 587, 735, 995, 1460] {
        assert!(matches!(find(&n.to_string()), Found::One(Entry::Other(o), ..) if o.number == n), "{n}");
    }
    assert_eq!(one("WAIT_TIMEOUT"), Some(258));
    assert_eq!(one("ERROR_TIMEOUT"), Some(1460));
}

#[test]
fn words_are_found_in_symbols_messages_and_pages() {
    assert_eq!(one("already owned"), Some(101));
    assert_eq!(one("ALREADY_OWNED"), Some(101));
    assert_eq!(one("sem_is_set"), Some(102));
    assert_eq!(one("owner has ended"), Some(105));
    // OS/2 had another number for it, too.
    assert_eq!(several("cannot be closed"), [102, 301]);
    assert_eq!(several("timeout"), [121, 258, 640, 1460]);
    assert_eq!(several("invalid"), [1, 6, 87, 104, 123, 151, 153]);
    assert!(several("died owner mark").contains(&105));
    let Found::One(Entry::Ours(Code::Interrupt), None, also) = find("interrupt") else { panic!("{:?}", find("interrupt")) };
    assert_eq!(also, [Entry::Ours(Code::InvalidAtInterruptTime)]);
}

#[test]
fn near_misses_are_suggested() {
    let near = |words: &str| match find(words) {
        Found::Nothing(near, _) => near.iter().map(|e| e.number()).collect::<Vec<_>>(),
        other => panic!("{words}: {other:?}"),
    };
    assert_eq!(near("ERROR_SEM_OWNER_DEID").first(), Some(&105));
    assert_eq!(near("semtimout").first(), Some(&121));
    assert_eq!(near("deadlok").first(), Some(&1131));
    assert!(near("xyzzy").is_empty());
    for n in ["75", "76", "124", "125", "126", "127"] {
        assert!(matches!(find(n), Found::Nothing(_, Some(hint)) if hint.starts_with(n)), "{n}");
    }
    for n in ["99", "0x6500", "4294967295", "-1", "99999999999", "", "-", "0x"] {
        assert!(matches!(find(n), Found::Nothing(..)), "{n}: {:?}", find(n));
    }
}
