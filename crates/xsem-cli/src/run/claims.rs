//! The claims that enclosing `xsem run`s hold, as they travel through the environment.
//!
//! `XSEM_CLAIMS` is a list of `TOKEN,URL,NAME` with one space between two entries; `,permits` stands behind those that are
//! permits of a pool, which are not shared. URL and NAME are percent-encoded, so that every name survives, and so do programs
//! that print or parse environments. The innermost entry stands last.

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
    permits: bool,
}

/// What stands behind a claim of permits.
const PERMITS: &str = "permits";

impl Claims {
    /// Those of this process's environment. What cannot be read is left out: at worst, a run waits that could have shared.
    pub fn from_env() -> Claims {
        Claims::parse(&env::var(VARIABLE).unwrap_or_default())
    }

    fn parse(text: &str) -> Claims {
        Claims(text.split(' ').filter_map(Entry::parse).collect())
    }

    /// The fencing token of the claim on this exclusive semaphore.
    pub fn token(&self, url: &str, name: &str) -> Option<u64> {
        self.0.iter().rev().find(|e| !e.permits && e.url == url && e.name == name).map(|e| e.token)
    }

    /// Name and token of the innermost claim of whatever kind.
    pub fn innermost(&self, url: &str) -> Option<(&str, u64)> {
        self.0.iter().rev().find(|e| e.url == url).map(|e| (e.name.as_str(), e.token))
    }

    /// Names and tokens of the claims in this namespace.
    pub fn all<'a>(&'a self, url: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
        self.0.iter().filter(move |e| e.url == url).map(|e| (e.name.as_str(), e.token))
    }

    /// With one more; an older claim on the same exclusive semaphore is over, and goes. So does an older one of permits,
    /// which is not the innermost any more.
    pub fn with(mut self, token: u64, url: &str, name: &str, permits: bool) -> Claims {
        self.0.retain(|e| !(e.url == url && e.name == name));
        self.0.push(Entry { token, url: url.to_owned(), name: name.to_owned(), permits });
        self
    }

    /// The value of the variable.
    pub fn encode(&self) -> String {
        let entry = |e: &Entry| {
            let permits = if e.permits { format!(",{PERMITS}") } else { String::new() };
            format!("{},{},{}{permits}", e.token, encode(&e.url), encode(&e.name))
        };
        self.0.iter().map(entry).collect::<Vec<String>>().join(" ")
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Entry> {
        let mut fields = text.split(',');
        let (token, url, name) = (fields.next()?, fields.next()?, fields.next()?);
        let permits = match (fields.next(), fields.next()) {
            (None, _) => false,
            (Some(PERMITS), None) => true,
            _ => return None,
        };
        Some(Entry { token: token.parse().ok()?, url: decode(url)?, name: decode(name)?, permits })
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
            claims = claims.with(i as u64 + 1, "shm:/tmp/a b,c", n, i % 2 == 1);
        }
        let text = claims.encode();
        assert!(text.bytes().all(|b| b.is_ascii_graphic() || b == b' '), "{text}");
        let back = Claims::parse(&text);
        assert_eq!(back, claims);
        for (i, n) in names.iter().enumerate() {
            let token = back.token("shm:/tmp/a b,c", n);
            assert_eq!(token, (i % 2 == 0).then_some(i as u64 + 1), "permits are not shared: {n}");
            assert_eq!(back.token("shm:", n), None);
        }
    }

    #[test]
    fn a_new_claim_replaces_the_one_before() {
        let claims = Claims::default();
        let claims = claims.with(1, "shm:", "a", false).with(2, "shm:", "b", true).with(3, "shm:", "a", false);
        assert_eq!(claims.encode(), "2,shm:,b,permits 3,shm:,a");
        assert_eq!(claims.innermost("shm:"), Some(("a", 3)));
        assert_eq!(claims.with(4, "shm:", "b", true).innermost("shm:"), Some(("b", 4)));
    }

    #[test]
    fn nonsense_is_left_out() {
        let claims = Claims::parse("x,shm:,a 1,shm: 1,shm:,%zz 1,shm:,a,b 1,shm:,a,permits,x  7,shm:,ok 1,shm:,%C3");
        assert_eq!(claims.encode(), "7,shm:,ok");
    }
}
