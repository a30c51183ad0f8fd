//! Images of the project, built where no container registry is in reach.
//!
//! [`ensure`] builds what is not cached. An image's tag is a hash over everything that goes into it (see
//! [`hash`]), so a tag never changes its content and the cluster never pulls. What lies where:
//!
//! | in the cache directory | what |
//! |---|---|
//! | `images/<name>-<hash>.tar` | OCI archives that `ctr --namespace k8s.io images import` names rightly |
//! | `bases/<suite>-<stamp>-<hash>.tar` | the Debian base images |
//! | `buildah/` | buildah's own store, with the layers of unfinished work |
//! | `images/logs/<name>.log` | what the last build of an image said |

mod archive;
mod base;
mod buildah;
mod catalog;
mod context;
mod hash;
mod host;
mod overlay;
mod recipe;
mod rust;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

pub use catalog::Name;
pub use overlay::{Overlay, OverlayError};

use crate::{Options, Progress};

/// The PostgreSQL major version of the image, and so of the extension overlay.
pub const POSTGRES_MAJOR: u16 = 17;

/// What to build.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Makes the Debian bases again even if this month's are there, and so everything on top of them.
    pub refresh: bool,
    /// The wanted images; `None` means all.
    pub only: Option<BTreeSet<Name>>,
}

impl Request {
    /// Asks for some images only.
    pub fn only(names: impl IntoIterator<Item = Name>) -> Self {
        Self { refresh: false, only: Some(names.into_iter().collect()) }
    }

    fn wants(&self, name: Name) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&name))
    }
}

/// An image that is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `localhost/lyceum/<name>:<hash>`, what a pod's `image` says.
    pub reference: String,
    /// The OCI archive, for `ctr images import`.
    pub archive: PathBuf,
}

/// The images of a lab.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    /// By name.
    pub images: BTreeMap<Name, Image>,
    /// The version of the Citus extension in the PostgreSQL image; `None` if there is none in it.
    pub citus: Option<String>,
}

impl Images {
    /// The image of this name.
    ///
    /// # Errors
    /// When it was not asked for when the images were built.
    pub fn get(&self, name: Name) -> Result<&Image> {
        self.images.get(&name).with_context(|| format!("the image {name} is not built: run `lab images`"))
    }

    /// The reference of the image of this name, for a pod.
    ///
    /// # Errors
    /// As [`Images::get`].
    pub fn reference(&self, name: Name) -> Result<&str> {
        self.get(name).map(|image| image.reference.as_str())
    }
}

/// Builds the wanted images that are not cached, and says where all of them are.
///
/// One run at a time works on a cache: a second one waits. A run that is killed leaves nothing that a later one
/// takes for finished, and no mount and no process either.
///
/// # Errors
/// When a tool is missing, the overlay that was asked for is not there, or a build fails; the message then ends
/// with the last lines of the build's log and the log's path.
pub async fn ensure(options: &Options, request: &Request, progress: &Progress) -> Result<Images> {
    let overlay =
        overlay::find(options.extension_overlay.as_deref(), &options.default_overlay(POSTGRES_MAJOR))?;
    let archives = archive::Archives::lock(&options.cache, progress).await?;
    let work = archives.work_directory()?;
    let kitchen = recipe::Kitchen {
        options,
        request,
        progress,
        archives: &archives,
        work: work.path(),
        buildah: buildah::Buildah::new(&options.cache, work.path()),
        overlay: overlay.as_ref(),
    };
    let images = kitchen.serve().await?;
    archives.prune(&images)?;
    Ok(Images { images, citus: overlay.and_then(|overlay| overlay.citus) })
}
