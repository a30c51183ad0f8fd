//! lyceum on a cluster: the lab's, or any other by its kubeconfig.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DynamicObject, ListParams};
use kube::core::discovery::ApiResource;
use kube::core::gvk::GroupVersionKind;
use kube::{Api, Client};
use serde_json::Value;

use crate::command::run;
use crate::images::{self, Images, Name};
use crate::manifest::{apply, parse};
use crate::options::Options;
use crate::progress::Progress;
use crate::state::State;
use crate::{health, tools, up};

/// Where the operator is installed.
const SYSTEM: &str = "lyceum-system";
/// Where the example is.
const NAMESPACE: &str = "lyceum";
/// The example's name.
const EXAMPLE: &str = "school";

/// Includes initdb of every group on a machine with two cores that has just unpacked the images.
const READY_LIMIT: Duration = Duration::from_secs(600);
const LOADED_LIMIT: Duration = Duration::from_secs(600);

/// Where to install, and what.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// A cluster that is not the lab's. Its images must be where it can pull them.
    pub kubeconfig: Option<PathBuf>,
    /// The region of the lab.
    pub region: String,
    /// A registry with the images under the chart's version, for a cluster that is not the lab's.
    pub registry: Option<String>,
    /// Whether to leave out the example with its data.
    pub bare: bool,
}

/// Where the images of an installation come from.
enum Source {
    /// They are on the nodes under these names.
    Nodes(Images),
    /// The cluster pulls them.
    Registry(Option<String>),
}

/// Installs or upgrades lyceum, and the example with its data.
///
/// # Errors
/// When an image does not build, helm refuses, or the example is not Ready in time; the message says why.
pub async fn install(options: &Options, request: &Request, progress: &Progress) -> Result<()> {
    let (kubeconfig, source) = match &request.kubeconfig {
        Some(kubeconfig) => (kubeconfig.clone(), Source::Registry(request.registry.clone())),
        None => {
            let state = State::load(options)?;
            state.region(&request.region)?;
            let images = deliver(options, &images::Request::default(), progress).await?;
            (state.paths(&request.region).admin_kubeconfig(), Source::Nodes(images))
        }
    };
    let helm = Helm { program: tools::ensure_helm(options, progress).await?, kubeconfig: kubeconfig.clone() };
    let client = health::client(&kubeconfig).await?;
    let charts = options.repository.join("charts");
    let namespaces = options.repository.join("policies/namespaces.yaml");
    let namespaces = std::fs::read_to_string(&namespaces)
        .with_context(|| format!("cannot read {}", namespaces.display()))?;
    apply(&client, &parse(&namespaces)?, Duration::from_secs(30)).await?;
    progress
        .step("helm: lyceum", async {
            let values = platform_values(&source)?;
            let wait = ["--wait", "--timeout", "5m"];
            helm.upgrade("lyceum", &charts.join("lyceum"), SYSTEM, &values, &wait).await
        })
        .await?;
    if request.bare {
        return Ok(());
    }
    let plain = match &source {
        Source::Nodes(images) if images.citus.is_none() => {
            Some(charts.join("lyceum-demo/values-single.yaml").to_string_lossy().into_owned())
        }
        _ => None,
    };
    if plain.is_some() {
        progress.note("the PostgreSQL image has no Citus: the example is a single group");
    }
    progress
        .step("helm: the example", async {
            let values = demo_values(&source)?;
            // Helm itself could wait for it too, but says nothing meanwhile.
            let plain: Vec<&str> = plain.iter().flat_map(|file| ["--values", file.as_str()]).collect();
            helm.upgrade(EXAMPLE, &charts.join("lyceum-demo"), NAMESPACE, &values, &plain).await
        })
        .await?;
    progress.step("CourseShard school is Ready", wait_ready(&client, progress)).await?;
    progress.step("the registrations are loaded", wait_loaded(&client)).await
}

/// Builds images and, where a lab is up, puts them on all its nodes.
///
/// # Errors
/// When an image does not build or a node does not take it.
pub async fn deliver(options: &Options, request: &images::Request, progress: &Progress) -> Result<Images> {
    let images = images::ensure(options, request, progress).await?;
    if let Some(state) = State::find(options)? {
        state.save_images(&images)?;
        for region in &state.regions {
            for number in 1..=region.nodes {
                up::import(&state, &region.name, number, &images, progress).await?;
            }
        }
    }
    Ok(images)
}

/// Values of the platform's chart that say where its images are.
fn platform_values(source: &Source) -> Result<Vec<(String, String)>> {
    let names = [Name::Operator, Name::Postgres, Name::Pgbouncer, Name::Migrator];
    image_values(source, &names)
}

/// Values of the example's chart that say where its images are.
fn demo_values(source: &Source) -> Result<Vec<(String, String)>> {
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

struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Helm {
    async fn upgrade(
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

/// Waits until the example is Ready for its present generation, and says what it waits for whenever that changes.
async fn wait_ready(client: &Client, progress: &Progress) -> Result<()> {
    let kind = GroupVersionKind::gvk("lyceum.dev", "v1alpha1", "CourseShard");
    let shards: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), NAMESPACE, &ApiResource::from_gvk(&kind));
    let began = Instant::now();
    let mut said = String::new();
    loop {
        let shard =
            shards.get(EXAMPLE).await.with_context(|| format!("CourseShard {NAMESPACE}/{EXAMPLE}"))?;
        let (ready, why) = readiness(&shard);
        if ready {
            return Ok(());
        }
        if why != said {
            progress.note(format!("  {why}"));
            said.clone_from(&why);
        }
        if began.elapsed() > READY_LIMIT {
            bail!(
                "CourseShard {NAMESPACE}/{EXAMPLE} is not Ready after {} s: {why}; \
                 see `lab kubectl -- describe courseshard -n {NAMESPACE} {EXAMPLE}`",
                READY_LIMIT.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Whether an object's condition Ready is True for its present generation, and the condition's message.
fn readiness(object: &DynamicObject) -> (bool, String) {
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.and_then(|all| {
        all.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"))
    });
    let Some(ready) = ready else { return (false, "the operator has not seen it yet".to_owned()) };
    let text = |key: &str| ready.get(key).and_then(Value::as_str).unwrap_or_default();
    let current = ready.get("observedGeneration").and_then(Value::as_i64) == object.metadata.generation;
    (text("status") == "True" && current, format!("{}: {}", text("reason"), text("message")))
}

async fn wait_loaded(client: &Client) -> Result<()> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), NAMESPACE);
    let of_loader = ListParams::default().labels("app.kubernetes.io/component=loader");
    let began = Instant::now();
    loop {
        let all = jobs.list(&of_loader).await.context("the loader's Job")?.items;
        let condition = |job: &Job, kind: &str| {
            let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|one| one.type_ == kind && one.status == "True"))
        };
        // Without a Job there is nothing to wait for: the values switched it off, or it went after its success.
        if all.iter().all(|job| condition(job, "Complete")) {
            return Ok(());
        }
        let failed = all.iter().any(|job| condition(job, "Failed"));
        if failed || began.elapsed() > LOADED_LIMIT {
            bail!(
                "the loader did not finish: see `lab kubectl -- logs -n {NAMESPACE} \
                 -l app.kubernetes.io/component=loader`"
            );
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::images::Image;

    fn shard(conditions: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "lyceum.dev/v1alpha1",
            "kind": "CourseShard",
            "metadata": { "name": "school", "generation": 2 },
            "status": { "conditions": conditions },
        }))
        .unwrap()
    }

    #[test]
    fn ready_counts_only_for_the_present_generation() {
        let condition = |status: &str, generation: i64| {
            json!([{
                "type": "Ready", "status": status, "reason": "R", "message": "m", "observedGeneration": generation,
            }])
        };
        assert!(readiness(&shard(condition("True", 2))).0);
        assert!(!readiness(&shard(condition("True", 1))).0);
        assert_eq!(readiness(&shard(condition("False", 2))), (false, "R: m".to_owned()));
        assert!(!readiness(&shard(json!([]))).0);
    }

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
