//! The pages of `docs/errors`: one standard, and no output in them that the program does not print today.
//!
//! | file | what |
//! |---|---|
//! | `blocks` | the pages, and the sessions in them |
//! | `mask` | what of an output differs from run to run |
//! | `scenes` | what is there before a session begins |
//! | `sessions` | each session is played, and gives what the page says |
//! | `standard` | what every page has |
//!
//! `XSEM_BLESS=1 cargo test -p xsem-cli --test pages` writes what the program prints now into the pages. Read the difference.

#[path = "pages/blocks.rs"]
mod blocks;
mod common;
#[path = "pages/mask.rs"]
mod mask;
#[path = "pages/scenes.rs"]
mod scenes;
#[path = "pages/sessions.rs"]
mod sessions;
#[path = "pages/standard.rs"]
mod standard;
