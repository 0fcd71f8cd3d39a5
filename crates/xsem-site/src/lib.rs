//! A static site of the project's documents, without a server, a font or a script from elsewhere.
//!
//! | file | what |
//! |---|---|
//! | `documents` | which documents there are, and where each goes |
//! | `markdown` | a document's headings, links and text |
//! | `html` | a document as a page |
//! | `search` | the index that the pages search in |
//! | `links` | dead links, dead anchors |
//! | `write` | all of it into a directory |

mod documents;
mod html;
mod links;
mod markdown;
mod search;
mod write;

pub use documents::{Document, Documents};
pub use links::check;
pub use markdown::slug;
pub use write::write;

use std::path::PathBuf;

/// The root of the project.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
