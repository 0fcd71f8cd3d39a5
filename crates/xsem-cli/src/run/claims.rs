//! The claims that enclosing `xsem run`s hold, as they travel through the environment.
//!
//! `XSEM_CLAIMS` is a list of `TOKEN,URL,NAME` with one space between two entries. URL and NAME are percent-encoded, so
//! that every name survives, and so do programs that print or parse environments. The innermost entry stands last.

use std::env;
use std::fmt::Write;

/// The variable.
pub const VARIABLE: &str = "XSEM_CLAIMS";

/// What an enclosing run holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    token: u64,
    url: String,
    name: String,
}

impl Claims {
    /// Those of this process's environment. What cannot be read is left out: at worst, a run waits that could have shared.
    pub fn from_env() -> Claims {
        Claims::parse(&env::var(VARIABLE).unwrap_or_default())
    }

    fn parse(text: &str) -> Claims {
        Claims(text.split(' ').filter_map(Entry::parse).collect())
    }

    /// The fencing token of the claim on this semaphore.
    pub fn token(&self, url: &str, name: &str) -> Option<u64> {
        self.0.iter().rev().find(|e| e.url == url && e.name == name).map(|e| e.token)
    }

    /// With one more; an older claim on the same semaphore is over, and goes.
    pub fn with(mut self, token: u64, url: &str, name: &str) -> Claims {
        self.0.retain(|e| !(e.url == url && e.name == name));
        self.0.push(Entry { token, url: url.to_owned(), name: name.to_owned() });
        self
    }

    /// The value of the variable.
    pub fn encode(&self) -> String {
        let entries: Vec<String> = self.0.iter().map(|e| format!("{},{},{}", e.token, encode(&e.url), encode(&e.name))).collect();
        entries.join(" ")
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Entry> {
        let mut fields = text.split(',');
        let (token, url, name) = (fields.next()?, fields.next()?, fields.next()?);
        if fields.next().is_some() {
            return None;
        }
        Some(Entry { token: token.parse().ok()?, url: decode(url)?, name: decode(name)? })
    }
}

fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' | b':' => out.push(b as char),
            _ => {
                // Writing to a string does not fail.
                let _ = write!(out, "%{b:02X}");
            }
        }
    }
    out
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            _ => b,
        });
    }
    String::from_utf8(out).ok()
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|d| d as u8)
}

#[cfg(test)]
mod tests {
    use super::Claims;

    #[test]
    fn every_name_survives() {
        let names = ["a", "ci/gpu", "größe", "with space, comma and 100%", "x=y\\\"'$", &"ß".repeat(127)];
        let mut claims = Claims::default();
        for (i, n) in names.iter().enumerate() {
            claims = claims.with(i as u64 + 1, "shm:/tmp/a b,c", n);
        }
        let text = claims.encode();
        assert!(text.bytes().all(|b| b.is_ascii_graphic() || b == b' '), "{text}");
        let back = Claims::parse(&text);
        assert_eq!(back, claims);
        for (i, n) in names.iter().enumerate() {
            assert_eq!(back.token("shm:/tmp/a b,c", n), Some(i as u64 + 1));
            assert_eq!(back.token("shm:", n), None);
        }
    }

    #[test]
    fn a_new_claim_replaces_the_one_before() {
        let claims = Claims::default().with(1, "shm:", "a").with(2, "shm:", "b").with(3, "shm:", "a");
        assert_eq!(claims.encode(), "2,shm:,b 3,shm:,a");
    }

    #[test]
    fn nonsense_is_left_out() {
        let claims = Claims::parse("x,shm:,a 1,shm: 1,shm:,%zz 1,shm:,a,b  7,shm:,ok 1,shm:,%C3");
        assert_eq!(claims.encode(), "7,shm:,ok");
    }
}
