//! Debian base images by debootstrap.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use time::OffsetDateTime;

use super::archive::{self, Archives, BaseKey};
use super::buildah::{self, Build, Buildah};
use super::catalog::Suite;
use super::context::BuildContext;
use super::hash::{self, ContentHash};
use super::host::Secrets;
use super::sources::Mirrors;

/// Where the recipe of the bases is in the repository.
const DIRECTORY: &str = "e2e/images/base";

/// What debootstrap leaves behind that an image has no use for: device nodes, and the downloaded packages.
const LEFT_OUT: [&str; 4] = ["./dev/*", "./proc/*", "./sys/*", "./var/cache/apt/archives/*.deb"];

/// A base image, made or to be made.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// What tells it from others.
    pub(crate) key: BaseKey,
    /// Its name in buildah's store.
    pub(crate) reference: String,
    /// Its archive, if made.
    pub(crate) archive: PathBuf,
    context: BuildContext,
    mirrors: Mirrors,
}

impl Base {
    /// The base of a suite that is to be used now: the newest of this month, which is not made yet in a new month
    /// or when a refresh was asked for.
    pub(crate) fn plan(
        suite: Suite,
        repository: &Path,
        mirrors: &Mirrors,
        archives: &Archives,
        refresh: bool,
        now: OffsetDateTime,
    ) -> Result<Self> {
        let mut context = BuildContext::default();
        context.directory(Path::new(""), &repository.join(DIRECTORY))?;
        context.text("sources/debian.sources", mirrors.sources(suite));
        let mut content = ContentHash::new();
        content.part("suite", suite.as_str().as_bytes());
        for argument in debootstrap_options(mirrors) {
            content.part("debootstrap", argument.as_bytes());
        }
        context.hash_into(&mut content)?;
        let recipe = content.finish();
        let (month, second) = stamps(now);
        let key = if refresh {
            BaseKey { suite, stamp: second, recipe }
        } else {
            match archives.newest_base(suite, &recipe, &month)? {
                Some(key) => key,
                None => BaseKey { suite, stamp: month, recipe },
            }
        };
        Ok(Self {
            reference: hash::reference(suite.image(), &format!("{}-{}", key.stamp, key.recipe)),
            archive: archives.base(&key),
            key,
            context,
            mirrors: mirrors.clone(),
        })
    }

    /// Makes the image and its archive, in a directory for this run.
    pub(crate) async fn make(
        &self,
        buildah: &Buildah,
        secrets: &Secrets,
        work: &Path,
        log: &Path,
    ) -> Result<()> {
        let suite = self.key.suite.as_str();
        let (root, context) = (work.join(format!("{suite}-root")), work.join(format!("{suite}-context")));
        let mut debootstrap = buildah::contained("debootstrap");
        debootstrap.args(debootstrap_options(&self.mirrors)).arg(suite).arg(&root).arg(&self.mirrors.main);
        if let Some(proxy) = &secrets.http_proxy {
            debootstrap.env("http_proxy", proxy);
        }
        buildah::logged(debootstrap, log).await.with_context(|| {
            format!("debootstrap of {suite} failed; its packages come from the mirror in /etc/apt")
        })?;
        self.context.write(&context)?;
        let mut tar = buildah::contained("tar");
        tar.arg("--create").arg("--numeric-owner").arg("--file").arg(context.join("rootfs.tar"));
        tar.args(LEFT_OUT.map(|pattern| format!("--exclude={pattern}")))
            .arg("--directory")
            .arg(&root)
            .arg(".");
        buildah::logged(tar, log).await?;
        let arguments = secrets.arguments();
        let reference = &self.reference;
        // Without layers: what the recipe trims away must not stay in a layer below.
        buildah
            .build(Build { reference, context: &context, base: None, arguments, layers: false, log })
            .await?;
        let partial = Archives::partial(&self.archive);
        buildah.save(reference, &partial).await?;
        archive::publish(&partial, &self.archive)?;
        std::fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
        std::fs::remove_dir_all(&context).with_context(|| format!("cannot remove {}", context.display()))
    }
}

fn debootstrap_options(mirrors: &Mirrors) -> Vec<&'static str> {
    let mut options = vec!["--variant=minbase"];
    if mirrors.need_certificates() {
        options.push("--include=ca-certificates");
    }
    options
}

/// The month and the second of a moment, in UTC.
fn stamps(now: OffsetDateTime) -> (String, String) {
    let now = now.to_offset(time::UtcOffset::UTC);
    let month = format!("{:04}{:02}", now.year(), u8::from(now.month()));
    let second = format!("{month}{:02}T{:02}{:02}{:02}Z", now.day(), now.hour(), now.minute(), now.second());
    (month, second)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::Progress;

    /// 2026-11-01 00:00 UTC.
    const NOVEMBER: i64 = 1_793_491_200;
    const DECEMBER: i64 = NOVEMBER + 30 * 24 * 60 * 60;

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(second).unwrap()
    }

    fn mirrors(main: &str) -> Mirrors {
        Mirrors { main: main.into(), security: None }
    }

    async fn plan(archives: &Archives, mirror: &str, refresh: bool, now: OffsetDateTime) -> Base {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        Base::plan(Suite::Trixie, &repository, &mirrors(mirror), archives, refresh, now).unwrap()
    }

    #[tokio::test]
    async fn a_base_lasts_a_month_unless_a_refresh_is_asked_for() {
        let cache = tempfile::tempdir().unwrap();
        let archives = Archives::lock(cache.path(), &Progress::quiet()).await.unwrap();
        let [early, late, next] = [NOVEMBER, DECEMBER - 1, DECEMBER].map(at);
        let first = plan(&archives, "http://m.test/debian", false, early).await;
        assert!(first.reference.starts_with("localhost/lyceum/base:202611-"), "{}", first.reference);
        std::fs::write(&first.archive, "x").unwrap();
        assert_eq!(plan(&archives, "http://m.test/debian", false, late).await.reference, first.reference);
        assert_ne!(plan(&archives, "http://m.test/debian", false, next).await.reference, first.reference);
        let refreshed = plan(&archives, "http://m.test/debian", true, late).await;
        assert_ne!(refreshed.reference, first.reference);
        std::fs::write(&refreshed.archive, "x").unwrap();
        assert_eq!(plan(&archives, "http://m.test/debian", false, late).await.reference, refreshed.reference);
    }

    #[test]
    fn a_stamp_sorts_as_time_does() {
        let (month, second) = stamps(at(DECEMBER - 1));
        assert_eq!((month.as_str(), second.as_str()), ("202611", "20261130T235959Z"));
        assert!(month < second && second < stamps(at(DECEMBER)).0);
    }

    #[tokio::test]
    async fn another_mirror_makes_another_base() {
        let cache = tempfile::tempdir().unwrap();
        let archives = Archives::lock(cache.path(), &Progress::quiet()).await.unwrap();
        let now = at(NOVEMBER);
        let one = plan(&archives, "http://m.test/debian", false, now).await;
        let other = plan(&archives, "https://m.test/debian", false, now).await;
        assert_ne!(one.key.recipe, other.key.recipe);
    }
}
