//! The extension overlay: PostgreSQL extensions that no package has, built elsewhere.

use std::path::{Path, PathBuf};

/// A directory whose `lib/` and `extension/` go into the PostgreSQL image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The directory.
    pub directory: PathBuf,
    /// Version of the Citus in it, from its control file.
    pub citus: Option<String>,
}

/// An overlay that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// Somebody named a directory that is not there.
    #[error(
        "the extension overlay {} is not there (from --extension-overlay or LYCEUM_EXTENSION_OVERLAY): \
         name a directory with lib/ and extension/, or leave both unset to build without extensions",
        .0.display()
    )]
    Missing(PathBuf),
    /// A directory without the two parts.
    #[error(
        "the extension overlay {} has no directory {part}/: put the extension's libraries into lib/ and its \
         .control and .sql files into extension/ (docs/images.md)",
        directory.display()
    )]
    Incomplete {
        /// The overlay.
        directory: PathBuf,
        /// Which of the two is missing.
        part: &'static str,
    },
    /// A control file that cannot be read or has no version.
    #[error("{} cannot be used: {reason}", path.display())]
    Control {
        /// The control file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The two directories of an overlay.
pub(crate) const PARTS: [&str; 2] = ["lib", "extension"];

/// The overlay that was asked for, else the one in the default place, else none.
pub(crate) fn find(named: Option<&Path>, default: &Path) -> Result<Option<Overlay>, OverlayError> {
    let directory = match named {
        Some(named) if !named.is_dir() => return Err(OverlayError::Missing(named.to_path_buf())),
        Some(named) => named,
        None if !default.exists() => return Ok(None),
        None => default,
    };
    for part in PARTS {
        if !directory.join(part).is_dir() {
            return Err(OverlayError::Incomplete { directory: directory.to_path_buf(), part });
        }
    }
    let control = directory.join("extension/citus.control");
    let citus = match std::fs::read_to_string(&control) {
        Ok(text) => Some(default_version(&text).ok_or_else(|| OverlayError::Control {
            path: control,
            reason: "it has no line default_version = '…'".to_owned(),
        })?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(OverlayError::Control { path: control, reason: error.to_string() }),
    };
    Ok(Some(Overlay { directory: directory.to_path_buf(), citus }))
}

/// `default_version` of an extension's control file.
fn default_version(control: &str) -> Option<String> {
    control.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        let value = value.split('#').next()?.trim().trim_matches('\'');
        (key.trim() == "default_version" && !value.is_empty()).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn overlay(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        directory
    }

    #[test]
    fn a_named_overlay_that_is_missing_is_an_error_that_says_who_named_it() {
        let error =
            find(Some(Path::new("/no/such/overlay")), Path::new("/nor/this")).unwrap_err().to_string();
        for part in ["/no/such/overlay", "--extension-overlay", "LYCEUM_EXTENSION_OVERLAY", "lib/"] {
            assert!(error.contains(part), "{error:?} does not say {part}");
        }
    }

    #[test]
    fn without_a_named_overlay_its_absence_is_no_error() {
        assert_eq!(find(None, Path::new("/no/such/overlay")).unwrap(), None);
    }

    #[test]
    fn half_an_overlay_is_an_error_even_in_the_default_place() {
        let half = overlay(&[("lib/citus.so", "")]);
        let error = find(None, half.path()).unwrap_err().to_string();
        assert!(error.contains("no directory extension/"), "{error}");
    }

    #[test]
    fn the_version_of_citus_is_that_of_its_control_file() {
        let whole = overlay(&[
            ("lib/citus.so", ""),
            ("extension/citus.control", "# Citus\ncomment = 'default_version'\ndefault_version = '13.2-1'\n"),
        ]);
        let found = find(Some(whole.path()), Path::new("/unused")).unwrap().unwrap();
        assert_eq!(found.citus.as_deref(), Some("13.2-1"));
    }

    #[test]
    fn an_overlay_of_other_extensions_has_no_citus() {
        let other = overlay(&[("lib/x.so", ""), ("extension/x.control", "default_version = '1'\n")]);
        assert_eq!(find(None, other.path()).unwrap().unwrap().citus, None);
    }

    #[test]
    fn a_control_file_without_a_version_is_an_error_that_names_it() {
        let broken = overlay(&[("lib/citus.so", ""), ("extension/citus.control", "comment = 'x'\n")]);
        let error = find(None, broken.path()).unwrap_err().to_string();
        assert!(error.contains("citus.control") && error.contains("default_version"), "{error}");
    }
}
