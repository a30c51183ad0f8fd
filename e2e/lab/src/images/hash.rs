//! The content hash: two builds have the same tag only if they see the same input.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Collects what an image is made from. Every part is written with its label and length, so that no two
/// different lists of parts run together into the same bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContentHash(Sha256);

impl ContentHash {
    /// Changes whenever the way of building changes in a manner that the inputs do not show.
    const RECIPE: &'static str = "1";

    pub(crate) fn new() -> Self {
        let mut hash = Self::default();
        hash.part("recipe", Self::RECIPE.as_bytes());
        hash
    }

    pub(crate) fn part(&mut self, label: &str, content: &[u8]) {
        for field in [label.as_bytes(), content] {
            self.0.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_le_bytes());
            self.0.update(field);
        }
    }

    /// 16 hexadecimal digits: a tag that people can read, and 64 bits are far more than a cache needs.
    pub(crate) fn finish(self) -> String {
        self.0.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The SHA-256 of a file.
pub(crate) fn file(path: &Path) -> Result<[u8; 32]> {
    let mut open = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        let read = open.read(&mut block).with_context(|| format!("cannot read {}", path.display()))?;
        match block.get(..read) {
            Some(part) if read > 0 => hash.update(part),
            _ => return Ok(hash.finalize().into()),
        }
    }
}

/// The reference of an image; `localhost` because that host is nobody's registry.
pub(crate) fn reference(name: &str, hash: &str) -> String {
    format!("localhost/lyceum/{name}:{hash}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn hash(parts: &[(&str, &str)]) -> String {
        let mut hash = ContentHash::new();
        for (label, content) in parts {
            hash.part(label, content.as_bytes());
        }
        hash.finish()
    }

    #[test]
    fn a_hash_stays_the_same_over_releases_of_the_lab() {
        assert_eq!(hash(&[("Containerfile", "FROM scratch")]), "359757cb2fd26e4c");
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(hash(&[("ab", "c")]), hash(&[("a", "bc")]));
        assert_ne!(hash(&[("a", "b"), ("c", "d")]), hash(&[("a", "bc"), ("", "d")]));
        assert_ne!(hash(&[("a", "")]), hash(&[("a", ""), ("", "")]));
    }

    #[test]
    fn a_file_hashes_to_its_sha256() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("course");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(file(&path).unwrap()[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn a_reference_names_host_project_image_and_hash() {
        assert_eq!(reference("postgres", "0123456789abcdef"), "localhost/lyceum/postgres:0123456789abcdef");
    }
}
