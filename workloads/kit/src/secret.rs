//! Values that are never shown.

use std::{fs, io, path::Path};

/// A password. It has no `Debug`, no `Display` and is not serialisable, so that no log line,
/// error or panic can hold it; a struct with one in it can't derive `Debug` either.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Reads a mounted Secret's file. One line break at its end, as an editor leaves it, is no
    /// part of the value.
    pub fn from_file(path: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(Self(text.strip_suffix('\r').unwrap_or(text).to_owned()))
    }

    /// The value, for whatever must have it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// No characters at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::io::Write;

    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_dropped() {
        for (text, value) in
            [("a b", "a b"), ("ab\n", "ab"), ("ab\r\n", "ab"), ("ab\n\n", "ab\n"), (" ab ", " ab ")]
        {
            let mut path = std::env::temp_dir();
            path.push(format!("lyceum-secret-{}", std::process::id()));
            fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
            assert_eq!(Secret::from_file(&path).unwrap().expose(), value);
            fs::remove_file(&path).unwrap();
        }
    }
}
