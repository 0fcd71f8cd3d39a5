//! `cargo xtask docs` runs this: the site into a directory, or only a check of the links.

use std::path::Path;
use std::process::ExitCode;
use xsem_site::{Documents, check, root, write};

const USAGE: &str = "usage: xsem-site --out DIR [--api PATH]   (PATH: the API pages, as seen from DIR)\n       xsem-site --check";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let documents = match Documents::read(&root()) {
        Ok(documents) => documents,
        Err(e) => return failed(&format!("cannot read the documents: {e}")),
    };
    let dead = check(&documents);
    if !dead.is_empty() {
        return failed(&dead.join("\n"));
    }
    let (out, api) = match args.as_slice() {
        ["--check"] => return ExitCode::SUCCESS,
        ["--out", out] => (*out, None),
        ["--out", out, "--api", api] => (*out, Some(*api)),
        _ => return failed(USAGE),
    };
    match write(&documents, Path::new(out), api) {
        Ok(pages) => {
            println!("{pages} pages: {out}/index.html");
            ExitCode::SUCCESS
        }
        Err(e) => failed(&format!("cannot write to `{out}`: {e}")),
    }
}

fn failed(text: &str) -> ExitCode {
    eprintln!("xsem-site: {text}");
    ExitCode::from(1)
}
