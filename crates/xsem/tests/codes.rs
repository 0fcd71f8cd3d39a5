//! Every code of the table, made by the system itself: a scene for each, named by its symbol. And a test that holds the
//! table, the enum, the scenes, the pages and the sources together.

mod processes;

use processes::{Child, namespace};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use xsem::{CancelToken, Code, Counting, Error, Exclusive, Namespace, Options, Pick, Wait};

/// What somebody was told.
struct Told {
    code: Code,
    text: String,
}

impl From<Error> for Told {
    fn from(e: Error) -> Told {
        Told { code: e.code(), text: e.to_string() }
    }
}

macro_rules! scenes {
    ($($name:ident = $code:ident,)*) => {
        /// The scenes by the names of their functions.
        const SCENES: &[(&str, Code)] = &[$((stringify!($name), Code::$code),)*];

        mod each {
            $(#[test]
            fn $name() {
                super::play(super::Code::$code, super::$name);
            })*
        }
    };
}

scenes! {
    invalid_function = InvalidFunction,
    access_denied = AccessDenied,
    invalid_handle = InvalidHandle,
    not_enough_memory = NotEnoughMemory,
    invalid_parameter = InvalidParameter,
    interrupt = Interrupt,
    too_many_semaphores = TooManySemaphores,
    excl_sem_already_owned = ExclSemAlreadyOwned,
    sem_is_set = SemIsSet,
    too_many_sem_requests = TooManySemRequests,
    invalid_at_interrupt_time = InvalidAtInterruptTime,
    sem_owner_died = SemOwnerDied,
    sem_user_limit = SemUserLimit,
    sem_timeout = SemTimeout,
    invalid_name = InvalidName,
    invalid_event_count = InvalidEventCount,
    invalid_list_format = InvalidListFormat,
    already_exists = AlreadyExists,
    sem_not_found = SemNotFound,
    not_owner = NotOwner,
    too_many_posts = TooManyPosts,
    possible_deadlock = PossibleDeadlock,
    revision_mismatch = RevisionMismatch,
    file_corrupt = FileCorrupt,
}

/// The scene ends with this code, in a line that says so.
fn play(code: Code, scene: fn() -> Told) {
    let told = scene();
    assert_eq!(told.code, code, "{}", told.text);
    let head = format!("{} {}: ", code.number(), code.symbol());
    assert!(told.text.starts_with(&head) && told.text.len() > head.len() + 10 && !told.text.contains('\n'), "{}", told.text);
}

/// What `f` is told in a process of its own.
fn elsewhere(f: impl FnOnce() -> Error) -> Told {
    let (mut from, mut to) = std::io::pipe().unwrap();
    let child = Child::new(|| {
        let told = Told::from(f());
        to.write_all(format!("{} {}", told.code.number(), told.text).as_bytes()).unwrap();
    });
    drop(to);
    let mut line = String::new();
    from.read_to_string(&mut line).unwrap();
    child.succeeds();
    let (number, text) = line.split_once(' ').unwrap();
    Told { code: Code::from_number(number.parse().unwrap()).unwrap(), text: text.to_owned() }
}

/// A namespace file that no process has open.
fn file() -> (tempfile::TempDir, PathBuf, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ns");
    let url = format!("shm:{}", path.display());
    Child::new(|| drop(Namespace::open(&url).unwrap())).succeeds();
    (dir, path, url)
}

/// The error of a namespace that cannot be opened.
fn refusal(url: &str) -> Error {
    Namespace::open(url).map(drop).unwrap_err()
}

fn invalid_function() -> Told {
    let (_dir, ns) = namespace();
    Counting::create_pool(&ns, "pool", 2, Options::new()).unwrap().add_permits(1).unwrap_err().into()
}

fn access_denied() -> Told {
    let (_dir, path, url) = file();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    refusal(&url).into()
}

fn invalid_handle() -> Told {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    ns.remove("a").unwrap();
    Error::from(sem.acquire().unwrap_err()).into()
}

fn not_enough_memory() -> Told {
    let (_dir, _path, url) = file();
    elsewhere(|| {
        let pages: u64 = fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
        let limit = libc::rlimit { rlim_cur: pages * 4096 + (32 << 20), rlim_max: libc::RLIM_INFINITY };
        // SAFETY: a valid limit, for a process of its own that only has to do this.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
        refusal(&url)
    })
}

fn invalid_parameter() -> Told {
    let (_dir, ns) = namespace();
    Counting::create_pool(&ns, "pool", 0, Options::new()).unwrap_err().into()
}

fn interrupt() -> Told {
    let (_dir, ns) = namespace();
    let (sem, cancel) = (Exclusive::create(&ns, "a").unwrap(), CancelToken::new());
    let _guard = sem.acquire().unwrap();
    std::thread::scope(|s| {
        let waiter = s.spawn(|| Error::from(sem.acquire_with(Wait::forever().cancel(&cancel)).unwrap_err()));
        processes::until(|| !ns.inspect("a").unwrap().waiters.is_empty());
        cancel.cancel();
        waiter.join().unwrap().into()
    })
}

fn too_many_semaphores() -> Told {
    let dir = tempfile::tempdir().unwrap();
    let ns = Namespace::builder().max_semaphores(1).open(&format!("shm:{}/ns", dir.path().display())).unwrap();
    Exclusive::create(&ns, "a").unwrap();
    Exclusive::create(&ns, "b").unwrap_err().into()
}

fn excl_sem_already_owned() -> Told {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let _guard = sem.acquire().unwrap();
    elsewhere(|| sem.try_acquire().unwrap_err().into())
}

fn sem_is_set() -> Told {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let _guard = sem.acquire().unwrap();
    ns.remove("a").unwrap_err().into()
}

fn too_many_sem_requests() -> Told {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let levels: Vec<_> = (0..65_535).map(|_| sem.acquire().unwrap()).collect();
    let told = Error::from(sem.acquire().unwrap_err()).into();
    drop(levels);
    drop(sem.try_acquire().unwrap());
    told
}

fn invalid_at_interrupt_time() -> Told {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let _scope = xsem::interrupt::scope();
    Error::from(sem.try_acquire().unwrap_err()).into()
}

fn sem_owner_died() -> Told {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    Child::that_stays(|| std::mem::forget(sem.acquire().unwrap())).kill();
    Error::from(sem.acquire().unwrap_err()).into()
}

fn sem_user_limit() -> Told {
    let dir = tempfile::tempdir().unwrap();
    let ns = Namespace::builder().max_members(1).open(&format!("shm:{}/ns", dir.path().display())).unwrap();
    let sem = Exclusive::create(&ns, "a").unwrap();
    drop(sem.acquire().unwrap());
    elsewhere(|| sem.try_acquire().unwrap_err().into())
}

fn sem_timeout() -> Told {
    let (_dir, ns) = namespace();
    let pool = Counting::create_pool(&ns, "pool", 2, Options::new()).unwrap();
    let _permits = pool.acquire_many(2).unwrap();
    pool.acquire_timeout(Duration::from_millis(5)).unwrap_err().into()
}

fn invalid_name() -> Told {
    let (_dir, ns) = namespace();
    Exclusive::create(&ns, "two\nlines").unwrap_err().into()
}

fn invalid_event_count() -> Told {
    let (_dir, ns) = namespace();
    Error::from(ns.wait_any(&[], Wait::not()).unwrap_err()).into()
}

fn invalid_list_format() -> Told {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    Error::from(ns.acquire_all(&[Pick::from(&sem), Pick::from(&sem)], Wait::not()).unwrap_err()).into()
}

fn already_exists() -> Told {
    let (_dir, ns) = namespace();
    Exclusive::create(&ns, "a").unwrap();
    Exclusive::create(&ns, "a").unwrap_err().into()
}

fn sem_not_found() -> Told {
    let (_dir, ns) = namespace();
    Exclusive::open(&ns, "a").unwrap_err().into()
}

fn not_owner() -> Told {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let guard = sem.acquire().unwrap();
    ns.evict("a", guard.token()).unwrap();
    guard.release().unwrap_err().into()
}

fn too_many_posts() -> Told {
    let (_dir, ns) = namespace();
    Counting::create_credit(&ns, "credit", 2, 1, Options::new()).unwrap().add_permits(2).unwrap_err().into()
}

fn possible_deadlock() -> Told {
    let (_dir, ns) = namespace();
    let (a, b) = (Exclusive::create(&ns, "a").unwrap(), Exclusive::create(&ns, "b").unwrap());
    let first = a.acquire().unwrap();
    std::thread::scope(|s| {
        let other = s.spawn(|| {
            let _b = b.acquire().unwrap();
            // Served, once this thread has been told and has given up what it has.
            drop(a.acquire().unwrap());
        });
        processes::until(|| !ns.inspect("a").unwrap().waiters.is_empty());
        let told = Error::from(b.acquire().unwrap_err());
        assert_eq!(told.cycle().len(), 2);
        drop(first);
        other.join().unwrap();
        told.into()
    })
}

fn revision_mismatch() -> Told {
    let (_dir, path, url) = file();
    patch(&path, 8);
    // In the second copy, too: another version, and no damage.
    patch(&path, 8192 + 8);
    refusal(&url).into()
}

fn file_corrupt() -> Told {
    let (_dir, path, url) = file();
    patch(&path, 32);
    refusal(&url).into()
}

/// Changes a byte of a file.
fn patch(path: &Path, at: u64) {
    let f = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    f.read_exact_at(&mut byte, at).unwrap();
    f.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
}

/// The root of the project.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A code as files and functions are named by it.
fn short(code: Code) -> &'static str {
    code.symbol().strip_prefix("ERROR_").expect("a symbol of an error")
}

#[test]
fn every_code_has_its_scene() {
    // Those of a network are made by a store: `xsem-cli/tests/pages` plays them with real servers.
    let all: Vec<_> = Code::ALL.iter().filter(|c| !c.is_of_a_network()).map(|c| (short(*c).to_lowercase(), *c)).collect();
    let scenes: Vec<_> = SCENES.iter().map(|(name, code)| ((*name).to_owned(), *code)).collect();
    assert_eq!(scenes, all);
}

#[test]
fn the_contracts_table_is_the_enum() {
    let text = fs::read_to_string(root().join("docs/semantics.md")).unwrap();
    let section = text.split("\n## Codes\n").nth(1).expect("the section").split("\n## ").next().unwrap();
    let rows: Vec<_> = section
        .lines()
        .filter_map(|l| {
            let mut cells = l.strip_prefix("| ")?.split(" | ");
            Some((cells.next()?.parse::<u32>().ok()?, cells.next()?.trim_matches('`').to_owned()))
        })
        .collect();
    let all: Vec<_> = Code::ALL.iter().map(|c| (c.number(), short(*c).to_owned())).collect();
    assert_eq!(rows, all);
}

#[test]
fn every_code_has_its_page_and_every_page_a_code() {
    let files = fs::read_dir(root().join("docs/errors")).unwrap();
    let files = files.map(|f| f.unwrap().file_name().into_string().unwrap());
    // The list of all of them, which `xsem-cli/tests/pages` looks at.
    let mut pages: Vec<String> = files.filter(|f| f != "README.md").collect();
    let mut all: Vec<String> = Code::ALL.iter().map(|c| format!("{}-{}.md", c.number(), short(*c))).collect();
    pages.sort();
    all.sort();
    assert_eq!(pages, all);
    for code in Code::ALL {
        let page = fs::read_to_string(root().join(format!("docs/errors/{}-{}.md", code.number(), short(*code)))).unwrap();
        assert!(page.contains(&format!("`xsem::Code::{code:?}`")), "{code:?}: how Rust has it");
        assert!(!page.contains("nothing emits it"), "{code:?}: its scene shows that it is emitted");
    }
}

/// Every file of Rust below.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The names that follow `Code::` in a text, where that is not the end of a longer word.
fn named(text: &str) -> Vec<&str> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices("Code::")
        .filter(|(at, _)| !text[..*at].ends_with(word))
        .map(|(at, m)| text[at + m.len()..].split(|c| !word(c)).next().unwrap())
        .filter(|name| name.starts_with(char::is_uppercase) && name.contains(char::is_lowercase))
        .collect()
}

#[test]
fn the_sources_emit_what_is_in_the_table_and_all_of_it() {
    let known: Vec<String> = Code::ALL.iter().map(|c| format!("{c:?}")).collect();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for krate in fs::read_dir(root().join("crates")).unwrap() {
        let krate = krate.unwrap();
        let mut files = Vec::new();
        sources(&krate.path().join("src"), &mut files);
        for path in files {
            let text = fs::read_to_string(&path).unwrap();
            for name in named(&text) {
                assert!(known.iter().any(|k| k == name), "{}: Code::{name} is not in the table", path.display());
                // What the library itself can say, its tests and its table apart.
                let file = path.file_name().unwrap().to_str().unwrap();
                let engine =
                    if Code::ALL.iter().any(|c| format!("{c:?}") == name && c.is_of_a_network()) { "xsem-etcd" } else { "xsem" };
                let of_library = krate.file_name() == engine && file != "code.rs" && !path.to_str().unwrap().contains("tests");
                *seen.entry(name.to_owned()).or_default() += usize::from(of_library);
            }
        }
    }
    for name in known {
        assert!(seen.get(&name).is_some_and(|n| *n > 0), "the library never says Code::{name}");
    }
}

#[test]
fn names_in_sources_are_found() {
    let text =
        "Code::SemIsSet, std::process::ExitCode::SUCCESS, ExitCode::Good, Code::ALL; crate::Code::NotOwner) Code::from_number";
    assert_eq!(named(text), ["SemIsSet", "NotOwner"]);
}
