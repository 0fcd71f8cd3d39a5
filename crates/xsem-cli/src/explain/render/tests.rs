//! What becomes of Markdown.

use super::{Look, render};
use crate::explain::pages::PAGES;

fn plain(width: usize, text: &str) -> String {
    render(text, Look { width, colour: false })
}

#[test]
fn paragraphs_and_items_are_wrapped_anew() {
    let text = "one two\nthree four\n\n- first item that\n  goes on\n- second\n\n1. and `code here` of a step\n";
    let want = "one two three\nfour\n\n- first item\n  that goes on\n- second\n\n1. and `code\n   here` of a\n   step\n";
    assert_eq!(plain(14, text), want);
}

#[test]
fn marks_become_colours_or_stay_where_they_say_something() {
    let text = "**bold** and *emphasis*, `code`, [a link](x.md#y), 2 * 3 * 4\n";
    assert_eq!(plain(80, text), "bold and emphasis, `code`, a link, 2 * 3 * 4\n");
    let colour = render(text, Look { width: 80, colour: true });
    assert_eq!(
        colour,
        "\x1b[1mbold\x1b[0m and emphasis, \x1b[36mcode\x1b[0m, \x1b[4ma\x1b[0m\x1b[4m \x1b[0m\x1b[4mlink\x1b[0m, 2 * 3 * 4\n"
            .replace("\x1b[0m\x1b[4m", "")
    );
}

#[test]
fn tables_are_aligned_and_fit() {
    let text = "| a | what it is |\n|---|---|\n| `x \\| y` | a long text that does not fit in one line |\n";
    let want = "a        what it is\n\
                -------  ---------------------\n\
                `x | y`  a long text that does\n         not fit in one line\n";
    assert_eq!(plain(30, text), want);
    // A head without words is none.
    assert_eq!(plain(30, "| | |\n|---|---|\n| number | 101 |\n"), "number  101\n");
}

#[test]
fn code_is_left_as_it_is() {
    assert_eq!(
        plain(10, "```sh\nxsem run deploy -- make   # long\n\n## not a heading\n```\n"),
        "    xsem run deploy -- make   # long\n    \n    ## not a heading\n"
    );
}

/// No page loses a word, whatever the width, and text that can be broken fits.
#[test]
fn every_page_is_shown_whole_and_fits() {
    for width in [40, 80, 120] {
        for (code, page) in PAGES {
            let shown = plain(width, page);
            // Columns of a table get no narrower than a word or two, so a wide table does not fit on a telephone.
            for line in shown.lines().filter(|l| !l.starts_with("    ") && l.contains(' ') && (width > 40 || !l.contains("  "))) {
                let longest = line.split_whitespace().map(|w| w.chars().count()).max().unwrap_or(0);
                let columns = line.chars().count();
                assert!(columns <= width || longest + 24 > width, "{code:?} at {width}: {columns} columns: {line}");
            }
            let letters = |t: &str| t.chars().filter(|c| c.is_alphanumeric()).count();
            assert!(letters(&shown) + 2500 > letters(page), "{code:?} at {width}");
            assert!(!shown.contains("**") && !shown.contains("|---"), "{code:?} at {width}");
        }
    }
}

#[test]
fn commands_stay_whole_and_what_they_print_is_wrapped() {
    let text = "```console\n$ xsem run -n deploy -- make\nxsem: it is owned by somebody\n  a   b\n```\n";
    assert_eq!(plain(24, text), "    $ xsem run -n deploy -- make\n    xsem: it is owned by\n    somebody\n      a   b\n");
}
