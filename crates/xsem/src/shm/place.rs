//! What follows `shm:` in a URL: which file, whose, and whom it is shared with.

use super::sys;
use crate::error::{Code, Error, Result};
use std::path::{Path, PathBuf};

/// Where a namespace is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub path: PathBuf,
    /// In the user's own directory, which is made where it is missing.
    pub own: bool,
    /// The group that shall share it.
    pub group: Option<String>,
}

impl Place {
    /// `""`, `NAME`, `/path/to/file` or `/path/to/file?group=NAME`.
    pub fn parse(place: &str) -> Result<Place> {
        if !place.starts_with('/') {
            return Ok(Place { path: own_path(place)?, own: true, group: None });
        }
        let (path, options) = place.split_once('?').unwrap_or((place, ""));
        let mut group = None;
        for option in options.split('&').filter(|_| place.contains('?')) {
            match option.split_once('=') {
                Some(("group", name)) if !name.is_empty() && group.is_none() => group = Some(name.to_owned()),
                _ => return Err(not_a_url(place, "`?group=NAME` is what may follow a path, once; a path has no `?`")),
            }
        }
        Ok(Place { path: PathBuf::from(path), own: false, group })
    }

    /// With the group that a program has asked for beside the URL.
    pub fn shared_with(mut self, group: Option<&str>) -> Result<Place> {
        match (&self.group, group) {
            (_, None) => {}
            (Some(url), Some(g)) if url != g => {
                return Err(Error::new(
                    Code::InvalidParameter,
                    format!("the URL asks for the group {url}, and the program for {g}: it is one or the other"),
                )
                .advice("leave one of them away"));
            }
            (_, Some(_)) if self.own => {
                return Err(Error::new(
                    Code::InvalidParameter,
                    "a namespace in the user's own directory is not shared with a group",
                )
                .advice("use a path that the group can reach: `shm:/path/to/file?group=NAME`"));
            }
            (_, Some(g)) => self.group = Some(g.to_owned()),
        }
        Ok(self)
    }

    /// The URL that says it.
    pub fn url(&self, place: &str) -> String {
        match &self.group {
            None => format!("shm:{place}"),
            Some(g) => format!("shm:{}?group={g}", self.path.display()),
        }
    }
}

fn own_path(place: &str) -> Result<PathBuf> {
    let name = if place.is_empty() { "default" } else { place };
    let fits =
        name.len() <= 100 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) && !name.starts_with('.');
    if !fits {
        return Err(not_a_url(
            place,
            "use letters, digits, `-`, `_` and `.` (not first), or an absolute path: `shm:/path/to/file`, for a group \
             `shm:/path/to/file?group=NAME`",
        ));
    }
    Ok(Path::new("/dev/shm").join(format!("xsem-{}", sys::euid())).join(name))
}

fn not_a_url(place: &str, advice: &str) -> Error {
    Error::new(Code::InvalidParameter, format!("`shm:{place}` is not the URL of a namespace")).advice(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_groups() {
        let own = Place::parse("").unwrap();
        assert!(own.own && own.path.ends_with(format!("xsem-{}/default", sys::euid())));
        let p = Place::parse("/srv/x/ns").unwrap();
        assert_eq!((p.path.to_str(), p.own, p.group), (Some("/srv/x/ns"), false, None));
        let p = Place::parse("/srv/x/ns?group=builders").unwrap();
        assert_eq!((p.path.to_str(), p.group.as_deref()), (Some("/srv/x/ns"), Some("builders")));
        assert_eq!(p.url("ignored"), "shm:/srv/x/ns?group=builders");
        for bad in ["/x?", "/x?mode=666", "/x?group=", "/x?group", "/x?group=a&group=b", "/x?group=a&mode=1", "x?group=a", "a/b"]
        {
            assert_eq!(Place::parse(bad).unwrap_err().code(), Code::InvalidParameter, "{bad}");
        }
    }

    #[test]
    fn a_group_beside_the_url() {
        let p = Place::parse("/srv/x/ns").unwrap().shared_with(Some("builders")).unwrap();
        assert_eq!(p.url("/srv/x/ns"), "shm:/srv/x/ns?group=builders");
        assert!(p.clone().shared_with(Some("builders")).is_ok() && p.clone().shared_with(None).is_ok());
        assert_eq!(p.shared_with(Some("others")).unwrap_err().code(), Code::InvalidParameter);
        assert_eq!(Place::parse("a").unwrap().shared_with(Some("g")).unwrap_err().code(), Code::InvalidParameter);
    }
}
