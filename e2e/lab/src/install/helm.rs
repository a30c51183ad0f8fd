//! Helm, and the values that say where images are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::run;
use crate::images::{Images, Name};

/// Where the images of an installation come from.
pub(super) enum Source {
    /// They are on the nodes under these names.
    Nodes(Images),
    /// The cluster pulls them.
    Registry(Option<String>),
}

/// Values of the platform's chart that say where its images are.
pub(super) fn platform_values(source: &Source) -> Result<Vec<(String, String)>> {
    let names = [Name::Operator, Name::Postgres, Name::Pgbouncer, Name::Migrator];
    image_values(source, &names)
}

/// Values of the example's chart that say where its images are.
pub(super) fn demo_values(source: &Source) -> Result<Vec<(String, String)>> {
    image_values(source, &[Name::Loader])
}

fn image_values(source: &Source, names: &[Name]) -> Result<Vec<(String, String)>> {
    let mut values = Vec::new();
    match source {
        Source::Registry(registry) => {
            values.extend(registry.iter().map(|registry| ("images.registry".to_owned(), registry.clone())));
        }
        Source::Nodes(images) => {
            for name in names {
                let reference = images.reference(*name)?;
                let (repository, tag) =
                    reference.rsplit_once(':').with_context(|| format!("{reference} has no tag"))?;
                // The tag is a hash of the content, so nothing has to be pulled, and nothing could be.
                values.push((format!("images.{name}.repository"), repository.to_owned()));
                values.push((format!("images.{name}.tag"), tag.to_owned()));
            }
            values.push(("images.pullPolicy".to_owned(), "IfNotPresent".to_owned()));
        }
    }
    Ok(values)
}

/// Helm on one cluster.
pub(super) struct Helm {
    pub(super) program: PathBuf,
    pub(super) kubeconfig: PathBuf,
}

impl Helm {
    /// Installs or upgrades a release.
    pub(super) async fn upgrade(
        &self,
        release: &str,
        chart: &Path,
        namespace: &str,
        values: &[(String, String)],
        more: &[&str],
    ) -> Result<()> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut arguments: Vec<String> =
            ["upgrade", "--install", release].into_iter().map(str::to_owned).collect();
        arguments.push(text(chart));
        for (flag, value) in [("--kubeconfig", text(&self.kubeconfig)), ("--namespace", namespace.to_owned())]
        {
            arguments.extend([flag.to_owned(), value]);
        }
        arguments.push("--create-namespace".to_owned());
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        for (name, value) in values {
            // Text, whatever it looks like: a tag of digits only is no number.
            arguments.extend(["--set-string".to_owned(), format!("{name}={value}")]);
        }
        run(&text(&self.program), &arguments).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::collections::BTreeMap;

    use super::*;
    use crate::images::Image;

    #[test]
    fn images_on_the_nodes_are_named_by_repository_and_tag() {
        let image = |name: &str| Image {
            reference: format!("localhost/lyceum/{name}:0123"),
            archive: PathBuf::from("unused"),
        };
        let images = Images { images: BTreeMap::from([(Name::Loader, image("loader"))]), citus: None };
        let values = demo_values(&Source::Nodes(images)).unwrap();
        assert_eq!(values[0], ("images.loader.repository".into(), "localhost/lyceum/loader".into()));
        assert_eq!(values[1], ("images.loader.tag".into(), "0123".into()));
    }

    #[test]
    fn a_registry_is_the_only_value_for_a_cluster_that_pulls() {
        let values = platform_values(&Source::Registry(Some("registry.example".into()))).unwrap();
        assert_eq!(values, [("images.registry".to_owned(), "registry.example".to_owned())]);
        assert!(platform_values(&Source::Registry(None)).unwrap().is_empty());
    }
}
