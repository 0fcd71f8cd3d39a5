//! Opening the namespace for the commands that only look, or that need something that is there.

use xsem::{Code, Error, Namespace, Result};

/// The namespace, if it exists. Looking at one must not create it.
///
/// # Errors
/// As [`Namespace::open`], without "there is none".
pub fn existing(url: &str) -> Result<Option<Namespace>> {
    match Namespace::builder().create(false).open(url) {
        Ok(ns) => Ok(Some(ns)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

/// The namespace in which the semaphore `name` is expected.
///
/// # Errors
/// As [`existing`]; 187 where there is no namespace, and so no semaphore either.
pub fn with(name: &str, url: &str) -> Result<Namespace> {
    existing(url)?.ok_or_else(|| {
        Error::new(Code::SemNotFound, format!("there is no semaphore `{name}`: the namespace `{url}` does not exist yet"))
            .of(name)
            .advice("`xsem create NAME` or `xsem run NAME -- CMD` creates both")
    })
}

/// 187: there is nothing to look at.
pub fn none(url: &str) -> Error {
    Error::new(Code::SemNotFound, format!("the namespace `{url}` does not exist"))
        .advice("there is nothing to look at; the first `xsem run` or `xsem create` makes it")
}
