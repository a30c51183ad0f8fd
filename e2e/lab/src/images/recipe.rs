//! From a name to an archive: what an image is made from, whether that was built before, and if not, the build.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use time::OffsetDateTime;
use tokio::sync::OnceCell;

use super::archive::{self, Archives};
use super::base::Base;
use super::buildah::{Build, Buildah};
use super::catalog::{Name, Source, Suite};
use super::context::BuildContext;
use super::hash::{self, ContentHash};
use super::host::Secrets;
use super::overlay::{self, Overlay};
use super::{Image, Request, rust, sources};
use crate::tools::ensure_go_program;
use crate::{Options, Progress, command};

/// Everything that one run needs.
#[derive(Debug)]
pub(crate) struct Kitchen<'a> {
    pub(crate) options: &'a Options,
    pub(crate) request: &'a Request,
    pub(crate) progress: &'a Progress,
    pub(crate) archives: &'a Archives,
    pub(crate) work: &'a Path,
    pub(crate) buildah: Buildah,
    pub(crate) overlay: Option<&'a Overlay>,
}

/// What several images of one run share, each made at most once and only when wanted.
#[derive(Debug, Default)]
struct Shared {
    bases: BTreeMap<Suite, (Base, OnceCell<()>)>,
    binaries: OnceCell<BTreeMap<String, PathBuf>>,
    secrets: OnceCell<Secrets>,
}

impl Kitchen<'_> {
    /// Builds what is wanted and not cached.
    pub(crate) async fn serve(&self) -> Result<BTreeMap<Name, Image>> {
        let wanted: Vec<Name> = Name::ALL.into_iter().filter(|name| self.request.wants(*name)).collect();
        let shared = Shared { bases: self.plan_bases(&wanted)?, ..Shared::default() };
        // The layers in the store stand on the bases: with a new base they are of no more use.
        if shared.bases.values().any(|(base, _)| !base.archive.is_file()) {
            self.buildah.wipe().await?;
        }
        let images = try_join_all(wanted.iter().map(|name| self.image(*name, &shared))).await?;
        Ok(wanted.into_iter().zip(images).collect())
    }

    fn plan_bases(&self, wanted: &[Name]) -> Result<BTreeMap<Suite, (Base, OnceCell<()>)>> {
        let suites: BTreeSet<Suite> = wanted.iter().filter_map(|name| name.base()).collect();
        if suites.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mirrors = sources::of_host()?;
        if mirrors.security.is_none() {
            self.progress.note("no security mirror in /etc/apt: the images get no security updates");
        }
        let (now, repository) = (OffsetDateTime::now_utc(), &self.options.repository);
        let mut bases = BTreeMap::new();
        for suite in suites {
            let base = Base::plan(suite, repository, &mirrors, self.archives, self.request.refresh, now)?;
            archive::is_cached(&base.archive);
            bases.insert(suite, (base, OnceCell::new()));
        }
        Ok(bases)
    }

    async fn image(&self, name: Name, shared: &Shared) -> Result<Image> {
        let base = match name.base() {
            Some(suite) => {
                Some(shared.bases.get(&suite).with_context(|| format!("no base was planned for {name}"))?)
            }
            None => None,
        };
        let context = self.context(name, shared).await?;
        let mut content = ContentHash::new();
        content.part("image", name.as_str().as_bytes());
        if let Some((base, _)) = base {
            content.part("base", base.reference.as_bytes());
        }
        context.hash_into(&mut content)?;
        let hash = content.finish();
        let image = Image {
            reference: hash::reference(name.as_str(), &hash),
            archive: self.archives.image(name, &hash),
        };
        if archive::is_cached(&image.archive) {
            return Ok(image);
        }
        if let Some((base, made)) = base {
            made.get_or_try_init(|| self.base(base, shared)).await?;
        }
        let base = base.map(|(base, _)| base.reference.as_str());
        self.progress.step(format!("image {name}"), self.build(name, &image, &context, base, shared)).await?;
        Ok(image)
    }

    async fn build(
        &self,
        name: Name,
        image: &Image,
        context: &BuildContext,
        base: Option<&str>,
        shared: &Shared,
    ) -> Result<()> {
        let directory = self.work.join(format!("{name}-context"));
        context.write(&directory)?;
        let build = Build {
            reference: &image.reference,
            context: &directory,
            base,
            arguments: self.secrets(shared).await?.arguments(),
            layers: keeps_layers(name),
            log: &self.archives.log(name.as_str())?,
        };
        self.buildah.build(build).await?;
        let partial = Archives::partial(&image.archive);
        self.buildah.save(&image.reference, &partial).await?;
        archive::publish(&partial, &image.archive)?;
        if !keeps_layers(name) {
            self.buildah.remove(&image.reference).await?;
        }
        Ok(())
    }

    /// Has a base in buildah's store, from its archive or made.
    async fn base(&self, base: &Base, shared: &Shared) -> Result<()> {
        if base.archive.is_file() {
            if !self.buildah.has(&base.reference).await? {
                self.buildah.load(&base.reference, &base.archive).await?;
            }
            return Ok(());
        }
        let (suite, image) = (base.key.suite.as_str(), base.key.suite.image());
        self.progress.note(format!("debootstrap of {suite} begins (some 2 minutes, once a month)"));
        let secrets = self.secrets(shared).await?;
        let log = self.archives.log(image)?;
        self.progress.step(format!("image {image}"), base.make(&self.buildah, secrets, self.work, &log)).await
    }

    async fn context(&self, name: Name, shared: &Shared) -> Result<BuildContext> {
        let directory = self.options.repository.join(name.directory());
        let mut context = BuildContext::default();
        match name.source() {
            Source::Directory => {
                context.directory(Path::new(""), &directory)?;
            }
            Source::PostgresDirectory => {
                context.directory(Path::new(""), &directory)?;
                with_overlay(&mut context, self.overlay)?;
            }
            Source::Cargo(package) => {
                let binaries = shared.binaries.get_or_try_init(|| self.binaries()).await?;
                let binary = binaries.get(package).with_context(|| format!("{package} was not built"))?;
                context.file("Containerfile", directory.join("Containerfile")).file(package, binary);
            }
            Source::StaticC(program) => {
                let binary = self.compile(&directory.join(format!("{program}.c")), program).await?;
                context.file("Containerfile", directory.join("Containerfile")).file(program, binary);
            }
            Source::Go(program) => {
                let binary = ensure_go_program(self.options, self.progress, program).await?;
                context.file("Containerfile", directory.join("Containerfile")).file(program.name, binary);
            }
        }
        Ok(context)
    }

    async fn binaries(&self) -> Result<BTreeMap<String, PathBuf>> {
        let packages: Vec<&'static str> = Name::ALL
            .into_iter()
            .filter(|name| self.request.wants(*name))
            .filter_map(|name| match name.source() {
                Source::Cargo(package) => Some(package),
                _ => None,
            })
            .collect();
        self.progress
            .step(
                format!("cargo build of {}", packages.join(", ")),
                rust::build(&self.options.repository, &packages),
            )
            .await
    }

    async fn compile(&self, source: &Path, program: &str) -> Result<PathBuf> {
        let binary = self.work.join(program);
        let (source, target) = (source.to_string_lossy(), binary.to_string_lossy());
        command::run("cc", &["-static", "-Os", "-s", "-o", target.as_ref(), source.as_ref()])
            .await
            .context("a C compiler with a static C library is needed: install gcc and libc6-dev")?;
        Ok(binary)
    }

    async fn secrets<'s>(&self, shared: &'s Shared) -> Result<&'s Secrets> {
        shared.secrets.get_or_try_init(|| Secrets::of_host(self.work)).await
    }
}

/// Debian packages take minutes to install, and what changes comes after them. Binaries change all the time, and
/// nothing before them is worth keeping.
const fn keeps_layers(name: Name) -> bool {
    matches!(name, Name::Postgres | Name::Pgbouncer)
}

/// Puts the overlay that was found, or two empty directories, where the image's directory keeps its own.
fn with_overlay(context: &mut BuildContext, overlay: Option<&Overlay>) -> Result<()> {
    let place = Path::new("overlay");
    context.without(place);
    for part in overlay::PARTS {
        match overlay {
            Some(overlay) => context.directory(&place.join(part), &overlay.directory.join(part))?,
            None => context.empty_directory(place.join(part)),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn hash_of(context: &BuildContext) -> String {
        let mut hash = ContentHash::new();
        context.hash_into(&mut hash).unwrap();
        hash.finish()
    }

    #[test]
    fn the_overlay_that_was_found_replaces_what_lies_in_the_repository() {
        let (image, extension) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (root, file) in [
            (image.path(), "Containerfile"),
            (image.path(), "overlay/lib/old.so"),
            (extension.path(), "lib/citus.so"),
            (extension.path(), "extension/citus.control"),
        ] {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        let context_with = |overlay: Option<&Overlay>| {
            let mut context = BuildContext::default();
            context.directory(Path::new(""), image.path()).unwrap();
            with_overlay(&mut context, overlay).unwrap();
            context
        };
        let overlay = Overlay { directory: extension.path().to_path_buf(), citus: None };
        let (without, with) = (context_with(None), context_with(Some(&overlay)));
        assert_ne!(hash_of(&without), hash_of(&with));
        let written = tempfile::tempdir().unwrap();
        with.write(written.path()).unwrap();
        assert!(written.path().join("overlay/lib/citus.so").is_file());
        assert!(!written.path().join("overlay/lib/old.so").exists());
        let written = tempfile::tempdir().unwrap();
        without.write(written.path()).unwrap();
        assert!(
            written.path().join("overlay/lib").is_dir()
                && !written.path().join("overlay/lib/old.so").exists()
        );
    }
}
