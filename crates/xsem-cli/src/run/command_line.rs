//! A command line as people read it.

use std::ffi::OsString;

/// Longer ones are cut: others see it in one line of a terminal.
const MOST: usize = 120;

/// The words, quoted where they need it, without control characters, shortened.
pub fn shown(words: &[OsString]) -> String {
    let words: Vec<String> = words.iter().map(|w| quoted(&w.to_string_lossy())).collect();
    let line: String = words.join(" ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= MOST {
        return line;
    }
    let cut: String = line.chars().take(MOST - 3).collect();
    cut + "..."
}

/// One word so that a shell reads it as one.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::{MOST, shown};

    #[test]
    fn it_can_be_typed_again() {
        let words = ["make", "-j8", "A=b c", "it's", ""].map(Into::into);
        assert_eq!(shown(&words), r"make -j8 'A=b c' 'it'\''s' ''");
    }

    #[test]
    fn it_stays_one_short_line() {
        let text = shown(&["sh".into(), "-c".into(), "echo a\n".repeat(100).into()]);
        assert_eq!(text.chars().count(), MOST);
        assert!(text.starts_with("sh -c 'echo a echo a") && text.ends_with("..."), "{text}");
    }
}
