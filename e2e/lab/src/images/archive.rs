//! The cache of finished images: whole files under names that say what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::Image;
use super::catalog::{Name, Suite};
use crate::Progress;

/// How many archives of an image are kept, those last used: going back to a branch should not cost a build.
const KEPT: usize = 3;

/// Names that start so are never read: a run that was killed leaves them, the next one removes them.
const PARTIAL: &str = ".partial-";

/// The cache, locked for this run.
#[derive(Debug)]
pub(crate) struct Archives {
    images: PathBuf,
    bases: PathBuf,
    /// Held until the value is dropped; the kernel lets go of it when the process ends, however it ends.
    _lock: File,
}

impl Archives {
    /// Waits until no other run works on the cache, then removes what killed runs left.
    pub(crate) async fn lock(cache: &Path, progress: &Progress) -> Result<Self> {
        let (images, bases) = (cache.join("images"), cache.join("bases"));
        for directory in [&images, &bases] {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let path = images.join(".lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let lock = match lock.try_lock() {
            Ok(()) => lock,
            Err(TryLockError::WouldBlock) => {
                progress.note(format!("another run builds images ({} is locked): waiting", path.display()));
                tokio::task::spawn_blocking(move || lock.lock().map(|()| lock))
                    .await
                    .context("the wait for the lock was stopped")?
                    .with_context(|| format!("cannot lock {}", path.display()))?
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        };
        let archives = Self { images, bases, _lock: lock };
        archives.sweep()?;
        Ok(archives)
    }

    fn sweep(&self) -> Result<()> {
        for directory in [&self.images, &self.bases] {
            for entry in list(directory)? {
                let name = entry.file_name();
                if name.is_some_and(|name| name.as_encoded_bytes().starts_with(PARTIAL.as_bytes())) {
                    let removed =
                        if entry.is_dir() { fs::remove_dir_all(&entry) } else { fs::remove_file(&entry) };
                    removed.with_context(|| format!("cannot remove {}", entry.display()))?;
                }
            }
        }
        Ok(())
    }

    /// A directory for this run, gone when it is dropped, or else swept by the next run.
    pub(crate) fn work_directory(&self) -> Result<tempfile::TempDir> {
        tempfile::Builder::new()
            .prefix(PARTIAL)
            .tempdir_in(&self.images)
            .with_context(|| format!("cannot make a directory in {}", self.images.display()))
    }

    /// Where an image's archive is, or will be.
    pub(crate) fn image(&self, name: Name, hash: &str) -> PathBuf {
        self.images.join(format!("{name}-{hash}.tar"))
    }

    /// Where the log of an image's build is; it is empty now.
    pub(crate) fn log(&self, name: &str) -> Result<PathBuf> {
        let directory = self.images.join("logs");
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let path = directory.join(format!("{name}.log"));
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Where a base's archive is, or will be.
    pub(crate) fn base(&self, base: &BaseKey) -> PathBuf {
        self.bases.join(base.file_name())
    }

    /// The newest base of this suite, recipe and month.
    pub(crate) fn newest_base(&self, suite: Suite, recipe: &str, month: &str) -> Result<Option<BaseKey>> {
        let mut found: Vec<BaseKey> = list(&self.bases)?
            .iter()
            .filter_map(|path| BaseKey::parse(path.file_name()?.to_str()?))
            .filter(|key| key.suite == suite && key.recipe == recipe && key.stamp.starts_with(month))
            .collect();
        found.sort_by(|one, other| one.stamp.cmp(&other.stamp));
        Ok(found.pop())
    }

    /// A path to write an archive to before it is [published](publish).
    pub(crate) fn partial(target: &Path) -> PathBuf {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        target.with_file_name(format!("{PARTIAL}{name}"))
    }

    /// Removes the archives of each image and base but those in use and the last used ones.
    pub(crate) fn prune(&self, in_use: &BTreeMap<Name, Image>) -> Result<()> {
        let in_use: BTreeSet<&Path> = in_use.values().map(|image| image.archive.as_path()).collect();
        for directory in [&self.images, &self.bases] {
            let mut by_name: BTreeMap<String, Vec<(SystemTime, PathBuf)>> = BTreeMap::new();
            for path in
                list(directory)?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "tar"))
            {
                let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
                let group = match BaseKey::parse(&format!("{stem}.tar")) {
                    Some(base) => base.suite.image().to_owned(),
                    None => stem.rsplit_once('-').map_or(stem, |(name, _)| name).to_owned(),
                };
                let used =
                    fs::metadata(&path).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                by_name.entry(group).or_default().push((used, path));
            }
            for mut archives in by_name.into_values() {
                archives.sort_by(|one, other| other.cmp(one));
                for (_, path) in
                    archives.into_iter().skip(KEPT).filter(|(_, path)| !in_use.contains(path.as_path()))
                {
                    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
                }
            }
        }
        Ok(())
    }
}

/// Gives a finished archive its name.
pub(crate) fn publish(partial: &Path, target: &Path) -> Result<()> {
    fs::rename(partial, target)
        .with_context(|| format!("cannot rename {} to {}", partial.display(), target.display()))
}

/// Whether the archive is there; if so it counts as used now.
pub(crate) fn is_cached(archive: &Path) -> bool {
    // Who may not set the time may read the archive all the same.
    File::options().append(true).open(archive).map(|file| file.set_modified(SystemTime::now())).is_ok()
        || archive.is_file()
}

fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .with_context(|| format!("cannot read {}", directory.display()))
}

/// What tells one base from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseKey {
    /// The suite.
    pub(crate) suite: Suite,
    /// The month it was made in (`202611`), or the second when a refresh was asked for (`20261125T021500Z`).
    pub(crate) stamp: String,
    /// Hash of everything else.
    pub(crate) recipe: String,
}

impl BaseKey {
    fn file_name(&self) -> String {
        format!("{}-{}-{}.tar", self.suite.as_str(), self.stamp, self.recipe)
    }

    fn parse(file_name: &str) -> Option<Self> {
        let mut parts = file_name.strip_suffix(".tar")?.split('-');
        let (suite, stamp, recipe) = (parts.next()?, parts.next()?, parts.next()?);
        let suite = [Suite::Trixie, Suite::Sid].into_iter().find(|known| known.as_str() == suite)?;
        parts.next().is_none().then(|| Self { suite, stamp: stamp.to_owned(), recipe: recipe.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::time::Duration;

    use super::*;

    async fn archives(cache: &Path) -> Archives {
        Archives::lock(cache, &Progress::quiet()).await.unwrap()
    }

    fn put(path: &Path, used_minutes_ago: u64) {
        fs::write(path, "x").unwrap();
        let when = SystemTime::now() - Duration::from_secs(60 * used_minutes_ago);
        File::options().write(true).open(path).unwrap().set_modified(when).unwrap();
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = list(directory)
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .filter(|name| name != ".lock")
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn the_last_used_archives_of_each_name_are_kept_and_one_in_use_always() {
        let cache = tempfile::tempdir().unwrap();
        let archives = archives(cache.path()).await;
        for age in 1..=5 {
            put(&archives.image(Name::LocalPathHelper, &format!("{age}")), age);
        }
        put(&archives.image(Name::LocalPathProvisioner, "9"), 9);
        let in_use = Image { reference: String::new(), archive: archives.image(Name::LocalPathHelper, "5") };
        archives.prune(&BTreeMap::from([(Name::LocalPathHelper, in_use)])).unwrap();
        assert_eq!(
            names(&cache.path().join("images")),
            [
                "local-path-helper-1.tar",
                "local-path-helper-2.tar",
                "local-path-helper-3.tar",
                "local-path-helper-5.tar",
                "local-path-provisioner-9.tar"
            ]
        );
    }

    #[tokio::test]
    async fn use_renews_an_archive() {
        let cache = tempfile::tempdir().unwrap();
        let archives = archives(cache.path()).await;
        for age in 1..=4 {
            put(&archives.image(Name::Pause, &format!("{age}")), age);
        }
        assert!(is_cached(&archives.image(Name::Pause, "4")));
        assert!(!is_cached(&archives.image(Name::Pause, "7")));
        archives.prune(&BTreeMap::new()).unwrap();
        assert_eq!(names(&cache.path().join("images")), ["pause-1.tar", "pause-2.tar", "pause-4.tar"]);
    }

    #[tokio::test]
    async fn what_a_killed_run_left_is_removed_by_the_next() {
        let cache = tempfile::tempdir().unwrap();
        let left = {
            let archives = archives(cache.path()).await;
            let work = archives.work_directory().unwrap().keep();
            fs::write(work.join("rootfs.tar"), "half").unwrap();
            put(&Archives::partial(&archives.image(Name::Pause, "1")), 0);
            put(&archives.image(Name::Pause, "2"), 0);
            work
        };
        assert!(left.is_dir());
        drop(archives(cache.path()).await);
        assert_eq!(names(&cache.path().join("images")), ["pause-2.tar"]);
    }

    #[tokio::test]
    async fn a_second_run_waits_for_the_first() {
        let cache = tempfile::tempdir().unwrap();
        let first = archives(cache.path()).await;
        let path = cache.path().to_path_buf();
        let second = tokio::spawn(async move { archives(&path).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap();
    }

    #[tokio::test]
    async fn a_base_is_found_by_month_and_a_refreshed_one_comes_first() {
        let cache = tempfile::tempdir().unwrap();
        let archives = archives(cache.path()).await;
        let key =
            |suite, stamp: &str, recipe: &str| BaseKey { suite, stamp: stamp.into(), recipe: recipe.into() };
        let (old, month, refreshed) = (
            key(Suite::Trixie, "202610", "aa"),
            key(Suite::Trixie, "202611", "aa"),
            key(Suite::Trixie, "20261125T021500Z", "aa"),
        );
        put(&archives.base(&old), 0);
        assert_eq!(archives.newest_base(Suite::Trixie, "aa", "202611").unwrap(), None);
        put(&archives.base(&month), 0);
        put(&archives.base(&key(Suite::Sid, "20261130T000000Z", "aa")), 0);
        put(&archives.base(&key(Suite::Trixie, "20261130T000000Z", "bb")), 0);
        assert_eq!(archives.newest_base(Suite::Trixie, "aa", "202611").unwrap(), Some(month));
        put(&archives.base(&refreshed), 0);
        assert_eq!(archives.newest_base(Suite::Trixie, "aa", "202611").unwrap(), Some(refreshed));
    }
}
