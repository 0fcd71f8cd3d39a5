//! Long texts on a terminal, page by page.

use std::io::{self, IsTerminal, Write};
use std::process::{Command, Stdio};

/// Columns and rows of the terminal behind stdout.
pub fn size() -> Option<(usize, usize)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the structure that this request writes.
    let done = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) };
    (done == 0 && size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}

/// Whether stdout is a terminal that understands colours.
pub fn colours() -> bool {
    let no = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    io::stdout().is_terminal() && !no && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// Writes the text, through a pager where it is longer than the screen.
///
/// # Errors
/// Of writing it. That the reader has seen enough is none.
pub fn show(text: &str, with_pager: bool) -> io::Result<()> {
    let longer = size().is_some_and(|(_, rows)| text.lines().count() >= rows);
    if with_pager && io::stdout().is_terminal() && longer && paged(text) {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// `XSEM_PAGER`, else `PAGER`, else less. An empty one and `cat` mean none.
fn program() -> Option<String> {
    let named = ["XSEM_PAGER", "PAGER"].iter().find_map(std::env::var_os);
    let program = named.map_or_else(|| "less".to_owned(), |p| p.to_string_lossy().into_owned());
    (!program.trim().is_empty() && program.trim() != "cat").then_some(program)
}

/// The reader's own, and that colours are shown; if there are none, that a short text ends by itself and stays on the screen.
fn options_of_less(own: Option<&str>) -> String {
    match own {
        None | Some("") => "FRX".to_owned(),
        Some(own) if own.contains(['R', 'r']) => own.to_owned(),
        Some(own) => format!("{own} -R"),
    }
}

/// Whether a pager has shown it.
fn paged(text: &str) -> bool {
    let Some(program) = program() else { return false };
    // As man and git have it: the shell reads it.
    let mut command = Command::new("sh");
    command.arg("-c").arg(&program).stdin(Stdio::piped());
    command.env("LESS", options_of_less(std::env::var("LESS").ok().as_deref()));
    let Ok(mut pager) = command.spawn() else { return false };
    // Ctrl-C is for the pager, which decides what it means; we must not leave it behind.
    // SAFETY: a plain call; the pager is started already and has its own.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    if let Some(mut to) = pager.stdin.take() {
        // A pager that ends before it has read everything: somebody has seen enough.
        let _ = to.write_all(text.as_bytes());
    }
    // 127: there is no such pager, and nothing was shown.
    pager.wait().is_ok_and(|s| s.code() != Some(127))
}

#[cfg(test)]
mod tests {
    use super::options_of_less;

    #[test]
    fn less_shows_colours_whatever_else_it_is_told() {
        for (own, want) in [(None, "FRX"), (Some(""), "FRX"), (Some("-MR"), "-MR"), (Some("-i -M"), "-i -M -R")] {
            assert_eq!(options_of_less(own), want);
        }
    }
}
