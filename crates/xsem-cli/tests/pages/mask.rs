//! What of an output differs from run to run. Everything else must be as it stands in the page.
//!
//! | in the output | compared as |
//! |---|---|
//! | a number before a command in backquotes | `PID` |
//! | a number behind `kill -CONT` | the same |
//! | a name in brackets behind one | `(USER)` |
//! | `12 s`, `4 min 10 s`, `0 ms` | `TIME` |
//! | `346 MiB` | `SIZE` |
//! | `version 3` | `version N` |
//! | several spaces | one |

/// The output with what differs replaced.
pub fn masked(output: &str) -> String {
    output.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn line(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut out: Vec<String> = Vec::new();
    let mut i = 0;
    while let Some(&word) = words.get(i) {
        let next = words.get(i + 1).copied().unwrap_or("");
        let (unit, rest) = next.split_at(next.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(next.len()));
        let is_number = word.bytes().all(|b| b.is_ascii_digit());
        if is_number && matches!(unit, "ms" | "s" | "min" | "h" | "d" | "MiB" | "KiB") {
            let what = if unit.ends_with('B') { "SIZE" } else { "TIME" };
            // `4 min 10 s` is one time.
            if out.last().is_some_and(|l| l == what) {
                out.pop();
            }
            out.push(format!("{what}{rest}"));
            i += 2;
            continue;
        }
        out.push(match () {
            () if is_number && next.starts_with('`') => "PID".to_owned(),
            () if is_number && i > 0 && words[i - 1] == "version" => "N".to_owned(),
            () if is_user(word) && i > 0 && words[i - 1].ends_with('`') => {
                format!("(USER){}", &word[word.find(')').map_or(word.len(), |at| at + 1)..])
            }
            () if i > 0 && words[i - 1] == "-CONT" => {
                format!("PID{}", word.trim_start_matches(|c: char| c.is_ascii_digit()))
            }
            () => number_of_version(word, i, &words).unwrap_or_else(|| word.to_owned()),
        });
        i += 1;
    }
    out.join(" ")
}

/// `3;` behind `version`.
fn number_of_version(word: &str, i: usize, words: &[&str]) -> Option<String> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
    (i > 0 && words[i - 1] == "version" && rest.len() < word.len()).then(|| format!("N{rest}"))
}

/// `(root)`, `(anna),`.
fn is_user(word: &str) -> bool {
    let name = word.strip_prefix('(').and_then(|w| w.split_once(')'));
    name.is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    })
}

#[test]
fn only_what_differs_is_replaced() {
    for (output, want) in [
        (
            "held by 10378 `sleep 20` (root) [release 4.2] for 1 s; wait",
            "held by PID `sleep 20` (USER) [release 4.2] for TIME; wait",
        ),
        ("(anna), its process ended 4 min 10 s ago, token 3", "(anna), its process ended TIME ago, token 3"),
        ("812 `make` (anna), its", "PID `make` (USER), its"),
        ("  counters  3 claims, longest 0 ms", "counters 3 claims, longest TIME"),
        (
            "has version 2 of the format; this program knows version 3; use",
            "has version N of the format; this program knows version N; use",
        ),
        ("let it go on: `kill -CONT 31208` (or `fg`)", "let it go on: `kill -CONT PID` (or `fg`)"),
        ("346 MiB of address space (os error 12)", "SIZE of address space (os error 12)"),
        ("4 more permits on the 2 of `items` are above 5", "4 more permits on the 2 of `items` are above 5"),
    ] {
        assert_eq!(masked(output), want);
    }
    assert_ne!(masked("held by nobody"), masked("held by 3 `x`"));
    assert_ne!(masked("121 ERROR_SEM_TIMEOUT"), masked("101 ERROR_SEM_TIMEOUT"));
}
