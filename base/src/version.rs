//! Versions of the server, of the cluster and of the schema.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The version of this server.
pub const SERVER: &str = "3.7.1";
/// The cluster version a cluster of such servers agrees on, and the schema version it writes.
pub const CLUSTER: &str = "3.7.0";
/// The oldest cluster version this server joins.
pub const CLUSTER_MIN: &str = "3.0.0";
/// The API level, `major.minor`.
pub const API: &str = "3.7";

/// A version without pre-release or build parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Changes when nothing stays compatible.
    pub major: u32,
    /// Changes with features.
    pub minor: u32,
    /// Changes with fixes; 0 in cluster and schema versions.
    pub patch: u32,
}

impl Version {
    /// This version.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// The same with patch 0.
    pub const fn to_minor(self) -> Self {
        Self { patch: 0, ..self }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = Error;

    /// Reads `X.Y` or `X.Y.Z`; a suffix such as `-rc.1` or `+git` is dropped, a leading `v` is
    /// refused.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Version(text.to_owned());
        let core = text.split(['-', '+']).next().unwrap_or_default();
        let mut parts = core.split('.');
        let mut number = || -> Result<Option<u32>, Error> {
            let Some(part) = parts.next() else { return Ok(None) };
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if digits { part.parse().map(Some).map_err(|_| bad()) } else { Err(bad()) }
        };
        let (Some(major), Some(minor), patch, None) = (number()?, number()?, number()?, number()?)
        else {
            return Err(bad());
        };
        Ok(Self { major, minor, patch: patch.unwrap_or(0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lengths_parse_and_print_in_full() {
        for (text, printed) in
            [("3.7", "3.7.0"), ("3.7.1", "3.7.1"), ("3.6.0-rc.1", "3.6.0"), ("3.6-rc.1", "3.6.0")]
        {
            assert_eq!(text.parse::<Version>().map(|v| v.to_string()), Ok(printed.to_owned()));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "3", "v3.7", "3.7.1.1", "3..1", "a.b", "3.-1", "99999999999.0", " 3.7"] {
            assert_eq!(text.parse::<Version>(), Err(Error::Version(text.to_owned())));
        }
    }

    #[test]
    fn versions_order_by_number() {
        assert!(Version::new(3, 10, 0) > Version::new(3, 9, 9));
        assert_eq!(Version::new(3, 7, 1).to_minor().to_string(), CLUSTER);
        assert_eq!(SERVER.parse(), Ok(Version::new(3, 7, 1)));
    }
}
