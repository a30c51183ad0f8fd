//! `kubectl lyceum take-over`.

use anyhow::{Context, bail};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use lyceum_crds::CourseShard;
use lyceum_crds::course_shard::names::TAKE_OVER_ANNOTATION;
use serde_json::{Value, json};

use crate::Connection;
use crate::cluster::{Cluster, explain};

pub(crate) async fn run(connection: &Connection, name: &str, revision: Option<i32>) -> anyhow::Result<()> {
    let cluster = Cluster::connect(connection).await?;
    let shard = cluster.shard(name).await?;
    let Some(revision) = choose(&shard, revision)? else {
        println!("CourseShard {name} has the operator's newest templates and images already");
        return Ok(());
    };
    let patch = Patch::Merge(annotation(&shard, revision));
    cluster.shards().patch(name, &PatchParams::default(), &patch).await.map_err(explain)?;
    println!(
        "CourseShard {name} takes over revision {revision}; no database is restarted by it: \
         `kubectl lyceum status {name}` names the pods that wait for a restart"
    );
    Ok(())
}

/// The revision to name, or `None` if there is nothing to take over.
fn choose(shard: &CourseShard, asked: Option<i32>) -> anyhow::Result<Option<i32>> {
    let render = shard.status.as_ref().and_then(|status| status.render.as_ref());
    let render = render.context("nothing is rendered yet: wait until the operator has reported on it")?;
    match (asked, render.available_revision) {
        (None, newest) => Ok(newest),
        (Some(asked), Some(newest)) if asked == newest => Ok(Some(newest)),
        (Some(asked), Some(newest)) => {
            bail!(
                "revision {asked} is not the operator's: it has {newest}; leave --revision out to take that"
            )
        }
        (Some(asked), None) if asked == render.revision => Ok(None),
        (Some(asked), None) => bail!("revision {asked} is not the operator's: it has {}", render.revision),
    }
}

/// The patch. It names the version of the object it was decided on, so that it is
/// refused if a person or the operator changed it since.
fn annotation(shard: &CourseShard, revision: i32) -> Value {
    json!({
        "metadata": {
            "resourceVersion": shard.resource_version(),
            "annotations": { TAKE_OVER_ANNOTATION: revision.to_string() },
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::explain::fixtures::{new, ready};

    #[test]
    fn the_newest_revision_is_taken_unless_another_is_named() {
        assert_eq!(choose(&ready(), None).unwrap(), Some(2));
        assert_eq!(choose(&ready(), Some(2)).unwrap(), Some(2));
        assert!(choose(&ready(), Some(3)).unwrap_err().to_string().contains("it has 2"));
    }

    #[test]
    fn nothing_is_done_when_nothing_is_newer() {
        let mut shard = ready();
        let render = shard.status.as_mut().unwrap().render.as_mut().unwrap();
        render.available_revision = None;
        assert_eq!(choose(&shard, None).unwrap(), None);
        assert_eq!(choose(&shard, Some(1)).unwrap(), None);
        assert!(choose(&new(), None).unwrap_err().to_string().contains("nothing is rendered yet"));
    }

    #[test]
    fn the_annotation_holds_the_revision_as_text() {
        let patch = annotation(&ready(), 2);
        assert_eq!(patch.pointer("/metadata/annotations/lyceum.dev~1take-over-render").unwrap(), "2");
    }
}
