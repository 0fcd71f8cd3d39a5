//! Each session of a page is played, and prints what the page says.

use crate::blocks::{Page, Step, pages};
use crate::common::{Place, XSEM, clean, text};
use crate::mask::masked;
use crate::scenes::{self, Cast, NAMESPACE};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What a page calls the directory of the test's namespace, and the file of the default one.
const DIRECTORY: &str = "/srv/build";
const DEFAULT: &str = "/dev/shm/xsem-1000/default";
/// How a page runs the example program.
const EXAMPLE: &str = "cargo run -q -p xsem --example refused -- ";

/// One code's sessions; with `XSEM_BLESS` the page gets what they print.
fn play(code: u32) {
    let page = pages().into_iter().find(|p| p.number == code).expect("the page");
    let sessions = page.sessions();
    assert!(!sessions.is_empty(), "{code}: no real output");
    let mut printed = Vec::new();
    let mut wrong = Vec::new();
    for (i, (_, steps)) in sessions.iter().enumerate() {
        let place = Place::new();
        let Some(cast) = scenes::set(&place, code, i) else { return };
        let mut block = String::new();
        for step in steps {
            let output = perform(&place, &step.command, &page, &cast);
            let same = masked(&output) == masked(&step.output);
            if !same {
                wrong.push(format!("$ {}\nprints\n{output}the page says\n{}", step.command, step.output));
            }
            block += &format!("$ {}\n{}", step.command, if same { &step.output } else { &output });
        }
        for mut child in cast.children {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        printed.push(block);
    }
    if std::env::var_os("XSEM_BLESS").is_some() {
        return bless(&page, &sessions, &printed);
    }
    assert!(wrong.is_empty(), "{}:\n{}", page.path.display(), wrong.join("\n"));
    let all: String = sessions.iter().flat_map(|(_, steps)| steps).map(|s| s.output.as_str()).collect();
    assert!(all.contains(&format!("{code} ERROR_")), "{code}: no session shows the error itself");
}

/// Runs a command of a page in a shell, and gives all that it prints, in the page's words for what lies elsewhere here.
fn perform(place: &Place, command: &str, page: &Page, cast: &Cast) -> String {
    let dir = place.dir().display().to_string();
    let mut line = command.replace(DIRECTORY, &dir);
    for (theirs, ours) in &cast.members {
        line = line.replace(theirs, ours);
    }
    if let Some(scene) = command.strip_prefix(EXAMPLE) {
        line = format!("{} {scene}", example().display());
    }
    for name in ["deploy.sh", "copy.sh", "train", "x"] {
        if line.contains(&format!("./{name}")) && !place.file(name).exists() {
            scenes::script(place, name, "true");
        }
    }
    let path = format!("{}:{}", Path::new(XSEM).parent().expect("a directory").display(), std::env::var("PATH").expect("PATH"));
    let out = clean(Command::new("sh"))
        .args(["-c", &format!("exec 2>&1; {line}")])
        .env("PATH", path)
        .env("XSEM_NAMESPACE", format!("shm:{dir}/{NAMESPACE}"))
        .current_dir(place.dir())
        .stdin(Stdio::null())
        .output()
        .expect("sh");
    let mut output = text(&out.stdout);
    for (theirs, ours) in &cast.members {
        output = output.replace(ours, theirs);
    }
    // A path that the command names is the page's; another one is what a reader has by default.
    let output = match command.contains(DIRECTORY) {
        true => output,
        false => output.replace(&format!("shm:{dir}/{NAMESPACE}"), "shm:").replace(&format!("{dir}/{NAMESPACE}"), DEFAULT),
    };
    assert!(!output.is_empty(), "{}: `{command}` prints nothing", page.path.display());
    output.replace(&dir, DIRECTORY)
}

/// The example program of the library, built by whoever comes first.
fn example() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built = Command::new(env!("CARGO")).args(["build", "--quiet", "-p", "xsem", "--example", "refused"]).status();
        assert!(built.expect("cargo").success(), "the example `refused` does not build");
        Path::new(XSEM).parent().expect("a directory").join("examples/refused")
    })
}

fn bless(page: &Page, sessions: &[(usize, Vec<Step>)], printed: &[String]) {
    let mut text = fs::read_to_string(&page.path).expect("the page");
    // From the end, so that the places before stay.
    for ((at, _), block) in sessions.iter().zip(printed).rev() {
        let end = at + text[*at..].find("```").expect("the block's end");
        text.replace_range(*at..end, block);
    }
    fs::write(&page.path, text).expect("the page can be written");
}

macro_rules! codes {
    ($($name:ident = $number:literal,)*) => {
        $(#[test]
        fn $name() {
            play($number);
        })*

        #[test]
        fn every_page_is_played() {
            let all: Vec<u32> = pages().iter().map(|p| p.number).collect();
            assert_eq!(all, [$($number),*]);
        }
    };
}

codes! {
    invalid_function = 1,
    access_denied = 5,
    invalid_handle = 6,
    not_enough_memory = 8,
    bad_netpath = 53,
    invalid_parameter = 87,
    interrupt = 95,
    too_many_semaphores = 100,
    excl_sem_already_owned = 101,
    sem_is_set = 102,
    too_many_sem_requests = 103,
    invalid_at_interrupt_time = 104,
    sem_owner_died = 105,
    sem_user_limit = 106,
    disk_full = 112,
    sem_timeout = 121,
    invalid_name = 123,
    invalid_event_count = 151,
    invalid_list_format = 153,
    already_exists = 183,
    sem_not_found = 187,
    not_owner = 288,
    too_many_posts = 298,
    possible_deadlock = 1131,
    revision_mismatch = 1306,
    logon_failure = 1326,
    file_corrupt = 1392,
    cluster_no_quorum = 5925,
    winhttp_secure_failure = 12175,
}
