//! What the documents tell people to type exists: every command and every option of `xsem` that any of them names.

mod common;

use common::{Place, text};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every Markdown file of the project.
fn documents(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        match path.is_dir() {
            true if name == "target" || name.starts_with('.') => {}
            true => documents(&path, found),
            false if name.ends_with(".md") => found.push(path),
            false => {}
        }
    }
}

/// The pieces of code in a text: spans between backquotes, and lines of blocks.
fn code(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut prose = String::new();
    let mut in_block = false;
    for line in text.lines() {
        match line.trim_start().starts_with("```") {
            true => in_block = !in_block,
            // A comment is prose, and so is what a command prints.
            false if in_block && line.starts_with("xsem: ") => {}
            false if in_block => found.push(line.split(" # ").next().unwrap_or_default().to_owned()),
            false if line.starts_with("    ") && !line.trim_start().starts_with(['-', '*']) => {
                found.push(line.split(" # ").next().unwrap_or_default().to_owned());
            }
            false => {
                prose += line;
                prose.push(' ');
            }
        }
    }
    found.extend(prose.split('`').skip(1).step_by(2).map(str::to_owned));
    found
}

/// `xsem` as a command in a piece of code, with the words behind it, up to `--` or the end of that command.
fn calls(code: &str) -> Vec<Vec<&str>> {
    let words: Vec<&str> = code.split_whitespace().collect();
    let starts = words.iter().enumerate().filter(|(i, w)| {
        let w = w.trim_start_matches(['(', '"', '\'', '`']).trim_start_matches("$(");
        // `xsem: 101 ...` is what it says; `-p xsem` a package; `the library xsem` prose.
        w == "xsem" && (*i == 0 || !matches!(words[i - 1], "-p" | "--path" | "library" | "The" | "the"))
    });
    starts
        .map(|(i, _)| {
            let rest = words[i + 1..].iter().copied();
            rest.take_while(|w| !w.starts_with("$(") && !matches!(*w, "--" | "|" | "||" | "&&" | ";" | "xsem" | ">" | "2>" | "#"))
                .collect()
        })
        .collect()
}

/// A word without what surrounds it in a text.
fn bare(word: &str) -> &str {
    word.trim_matches(['[', ']', '(', ')', '"', '\'', '`', ',', ';', '.', ':', '…']).split('=').next().unwrap_or_default()
}

/// What each command's help says.
struct Help {
    place: Place,
    known: BTreeMap<String, Option<String>>,
}

impl Help {
    /// The help of a command, None where there is no such command.
    fn of(&mut self, command: &str) -> Option<&str> {
        let place = &self.place;
        let ask = || {
            let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
            let out = place.output(&words);
            out.status.success().then(|| text(&out.stdout))
        };
        self.known.entry(command.to_owned()).or_insert_with(ask).as_deref()
    }
}

/// What is wrong with a call, if anything.
fn wrong(call: &[&str], help: &mut Help) -> Option<String> {
    let mut words = call.iter().map(|w| bare(w)).peekable();
    // Options that every command has may stand before it.
    while words.peek() == Some(&"--namespace") {
        words.next();
        words.next();
    }
    if call.first().is_some_and(|w| w.starts_with('(')) {
        return None;
    }
    let is_command = |w: &&str| !w.is_empty() && w.chars().all(|c| c.is_ascii_lowercase());
    let mut command = words.next_if(is_command)?.to_owned();
    if command == "event"
        && let Some(what) = words.next_if(|w| matches!(*w, "signal" | "reset" | "wait"))
    {
        command = format!("event {what}");
    }
    if command == "help" {
        return None;
    }
    let Some(text) = help.of(&command) else { return Some(format!("there is no command `{command}`")) };
    for option in words.take_while(|w| !is_other_program(w)) {
        let has = match option.strip_prefix("--") {
            Some("") | None if !option.starts_with('-') || option.len() != 2 => continue,
            Some(_) => text.split(|c: char| c.is_whitespace() || c == ',').any(|w| w == option),
            None => text.contains(&format!("{option}, --")),
        };
        if !has {
            return Some(format!("`{command}` has no option `{option}`"));
        }
    }
    None
}

/// Where the command of another program begins in a `run` without `--`.
fn is_other_program(word: &str) -> bool {
    matches!(word, "sh" | "make" | "bash" | "true" | "sleep" | "echo" | "grep" | "jq" | "kill" | "ps")
}

#[test]
fn what_they_tell_people_to_type_exists() {
    let mut files = Vec::new();
    documents(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), &mut files);
    let mut help = Help { place: Place::new(), known: BTreeMap::new() };
    let (mut seen, mut faults) = (0, Vec::new());
    for file in files {
        for piece in code(&fs::read_to_string(&file).expect("a document")) {
            for call in calls(&piece) {
                seen += 1;
                faults.extend(wrong(&call, &mut help).map(|w| format!("{}: {w}: {piece}", file.display())));
            }
        }
    }
    assert!(seen > 400, "{seen} calls");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_does_not_exist_is_found() {
    let mut help = Help { place: Place::new(), known: BTreeMap::new() };
    let mut of = |text: &str| code(text).iter().flat_map(|c| calls(c)).filter_map(|c| wrong(&c, &mut help)).count();
    for good in [
        "`xsem run -w 2m db -- ./migrate.sh --now`, `xsem --namespace shm:x ls --json | jq --raw`, xsem eats all",
        "```sh\nxsem event wait -n up && xsem show --json a   # xsem flies --high\n```",
        "    $ xsem run deploy -- ./deploy.sh --all-of-it\n",
        "`xsem`, `xsem NAME`, `-p xsem`, `xsem: 101`",
    ] {
        assert_eq!(of(good), 0, "{good}");
    }
    for bad in ["`xsem fly`", "`xsem run\n--fast a -- b`", "`xsem ls -z`", "```sh\nxsem event pulse x; xsem show --yaml a\n```"] {
        assert_ne!(of(bad), 0, "{bad}");
    }
}
