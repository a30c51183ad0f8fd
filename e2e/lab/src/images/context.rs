//! A build context: what a Containerfile can copy from, listed before any of it is copied, so that it can be
//! hashed without a build.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::hash::{self, ContentHash};

/// Where a file of a context comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    File(PathBuf),
    Text(String),
    /// For a `COPY` of a directory that may have nothing in it.
    EmptyDirectory,
}

/// Files by their path in the context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BuildContext(BTreeMap<PathBuf, Entry>);

impl BuildContext {
    /// Adds a file from the disk.
    pub(crate) fn file(&mut self, target: impl Into<PathBuf>, source: impl Into<PathBuf>) -> &mut Self {
        self.0.insert(target.into(), Entry::File(source.into()));
        self
    }

    /// Adds a file with this text.
    pub(crate) fn text(&mut self, target: impl Into<PathBuf>, text: impl Into<String>) -> &mut Self {
        self.0.insert(target.into(), Entry::Text(text.into()));
        self
    }

    /// Adds a directory and everything below it. Symbolic links are followed: a context outlives their targets.
    pub(crate) fn directory(&mut self, target: &Path, source: &Path) -> Result<&mut Self> {
        let entries = fs::read_dir(source).with_context(|| format!("cannot read {}", source.display()))?;
        let mut empty = true;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot read {}", source.display()))?;
            let (path, target) = (entry.path(), target.join(entry.file_name()));
            let kind = fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?;
            empty = false;
            if kind.is_dir() {
                self.directory(&target, &path)?;
            } else if kind.is_file() {
                self.file(target, path);
            } else {
                bail!("{} is neither a file nor a directory: remove it", path.display());
            }
        }
        if empty {
            self.empty_directory(target);
        }
        Ok(self)
    }

    /// Adds a directory with nothing in it.
    pub(crate) fn empty_directory(&mut self, target: impl Into<PathBuf>) -> &mut Self {
        self.0.insert(target.into(), Entry::EmptyDirectory);
        self
    }

    /// Leaves out everything below a directory, and the directory.
    pub(crate) fn without(&mut self, directory: &Path) -> &mut Self {
        self.0.retain(|target, _| !target.starts_with(directory));
        self
    }

    /// Writes paths, permissions to execute and contents into the hash; times and owners are not in an image's
    /// input.
    pub(crate) fn hash_into(&self, hash: &mut ContentHash) -> Result<()> {
        for (target, entry) in &self.0 {
            hash.part("path", target.as_os_str().as_encoded_bytes());
            match entry {
                Entry::File(source) => {
                    hash.part(if is_executable(source)? { "program" } else { "file" }, &hash::file(source)?);
                }
                Entry::Text(text) => hash.part("text", text.as_bytes()),
                Entry::EmptyDirectory => hash.part("directory", &[]),
            }
        }
        Ok(())
    }

    /// Writes the context to an empty directory.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        for (target, entry) in &self.0 {
            let path = directory.join(target);
            let parent = path.parent().unwrap_or(directory);
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
            match entry {
                Entry::File(source) => fs::copy(source, &path)
                    .map(drop)
                    .with_context(|| format!("cannot copy {} to {}", source.display(), path.display()))?,
                Entry::Text(text) => {
                    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
                }
                Entry::EmptyDirectory => {
                    fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
                }
            }
        }
        Ok(())
    }
}

fn is_executable(path: &Path) -> Result<bool> {
    let meta = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        directory
    }

    fn hash_of(context: &BuildContext) -> String {
        let mut hash = ContentHash::new();
        context.hash_into(&mut hash).unwrap();
        hash.finish()
    }

    fn context_of(directory: &Path) -> BuildContext {
        let mut context = BuildContext::default();
        context.directory(Path::new(""), directory).unwrap();
        context
    }

    #[test]
    fn the_same_files_elsewhere_and_at_another_time_have_the_same_hash() {
        let (one, other) = (tree(&[("a", "1"), ("b/c", "2")]), tree(&[("b/c", "2"), ("a", "1")]));
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        fs::File::options().write(true).open(other.path().join("a")).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(hash_of(&context_of(one.path())), hash_of(&context_of(other.path())));
    }

    #[test]
    fn content_name_and_permission_to_execute_each_change_the_hash() {
        let tree_of = |files| hash_of(&context_of(tree(files).path()));
        let plain = tree_of(&[("a", "1")]);
        assert_ne!(plain, tree_of(&[("a", "2")]));
        assert_ne!(plain, tree_of(&[("b", "1")]));
        let program = tree(&[("a", "1")]);
        fs::set_permissions(program.path().join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(plain, hash_of(&context_of(program.path())));
    }

    #[test]
    fn what_is_written_has_the_hash_of_what_was_listed() {
        let source = tree(&[("Containerfile", "FROM scratch"), ("overlay/lib/x.so", "x")]);
        fs::create_dir_all(source.path().join("overlay/extension")).unwrap();
        let mut context = context_of(source.path());
        context.text("sources/debian.sources", "Types: deb\n");
        let written = tempfile::tempdir().unwrap();
        context.write(written.path()).unwrap();
        assert!(written.path().join("overlay/extension").is_dir());
        assert_eq!(
            fs::read_to_string(written.path().join("sources/debian.sources")).unwrap(),
            "Types: deb\n"
        );
        assert_eq!(fs::read_to_string(written.path().join("overlay/lib/x.so")).unwrap(), "x");
    }

    #[test]
    fn a_directory_that_is_left_out_takes_nothing_else_with_it() {
        let source = tree(&[("overlay/lib/x", ""), ("overlay.md", "")]);
        let mut context = context_of(source.path());
        context.without(Path::new("overlay"));
        let mut expected = BuildContext::default();
        expected.file("overlay.md", source.path().join("overlay.md"));
        assert_eq!(context, expected);
    }
}
