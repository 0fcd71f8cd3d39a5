//! Names: what may be called what, decided in one place.

use crate::error::{Code, Error, Fixed, Result};

/// The longest name, in bytes of UTF-8.
pub const MAX_NAME: usize = 255;

/// A valid name: 1 to 255 bytes of UTF-8 without control characters.
///
/// `/` makes a hierarchy for people (`ci/gpu`), not directories. Names are case-sensitive, and one name is one object
/// of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<str>);

/// The same for interrupt time, where nothing may be allocated.
static NOT_A_NAME: Fixed = Fixed {
    code: Code::InvalidName,
    message: "the name is not allowed",
    advice: "use 1 to 255 bytes of UTF-8 without control characters, such as `ci/gpu`; and not at interrupt time",
};

impl Name {
    /// 104 at interrupt time; or 123 before it.
    pub(crate) fn check_at_normal_time(text: &str) -> Result<()> {
        let allowed = !text.is_empty() && text.len() <= MAX_NAME && !text.chars().any(char::is_control);
        crate::interrupt::check().map_err(|e| if allowed { e } else { Error::fixed(&NOT_A_NAME) })
    }

    /// Checks `text` and keeps it.
    ///
    /// # Errors
    /// 123 `ERROR_INVALID_NAME`: it is empty, longer than 255 bytes, or has a control character.
    pub fn new(text: &str) -> Result<Name> {
        let why = if text.is_empty() {
            "a name has at least one character".to_owned()
        } else if text.len() > MAX_NAME {
            format!("it has {} bytes; at most {MAX_NAME} are allowed", text.len())
        } else if let Some(c) = text.chars().find(|c| c.is_control()) {
            format!("it has the control character {:?}", c)
        } else {
            return Ok(Name(text.into()));
        };
        let shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
        Err(Error::new(Code::InvalidName, format!("`{shown}` is not a name: {why}"))
            .advice("use 1 to 255 bytes of UTF-8 without control characters, such as `ci/gpu`"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_the_contract_allows() {
        for ok in ["a", "ci/gpu", "größe", "a b", &"x".repeat(255)] {
            assert_eq!(Name::new(ok).unwrap().as_str(), ok);
        }
    }

    #[test]
    fn refuses_the_rest_with_123_and_says_why() {
        for (bad, why) in [("", "at least one"), ("a\0b", "control"), ("a\nb", "control"), (&"x".repeat(256), "256 bytes")] {
            let e = Name::new(bad).unwrap_err();
            assert_eq!(e.code(), Code::InvalidName);
            assert!(e.to_string().contains(why), "{e}");
        }
    }
}
