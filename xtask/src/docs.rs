//! `cargo xtask docs`: the API pages, and the site of the documents, which links to them. A dead link is a failure; CI finds it by
//! the tests of `xsem-site`.

use crate::Failure;
use crate::proc::{Job, target};
use crate::steps;

/// Where the API pages are, as seen from the site.
const API: &str = "../doc/xsem/index.html";

/// Makes both.
pub fn command() -> Result<(), Failure> {
    steps::run(&["doc"], false)?;
    let site = target().join("site");
    Job::cargo(["run", "--quiet", "-p", "xsem-site", "--", "--out"]).arg(site).args(["--api", API]).must("the site")
}
