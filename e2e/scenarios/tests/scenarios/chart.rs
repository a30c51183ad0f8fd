//! The chart: upgraded, rolled back, uninstalled and installed again under a running formation.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::Api;
use lyceum_crds::course_shard::names::Component;
use lyceum_scenarios::cluster::Cluster;
use lyceum_scenarios::config::in_repository;
use lyceum_scenarios::formation::Formation;
use lyceum_scenarios::operator;
use lyceum_scenarios::sql::Session;
use lyceum_scenarios::stage::Stage;
use lyceum_scenarios::tool::helm;
use lyceum_scenarios::wait::{Look, not_yet, wait_until};

/// The release that `make up` installs.
const RELEASE: &str = "lyceum";

/// Longest for the operator's pods to be replaced and one of them to lead.
const OPERATOR_WITHIN: Duration = Duration::from_secs(120);

/// A chart upgrade that brings a new database image restarts no pod of a formation and says that an
/// update waits; the roll-back takes that back.
pub(crate) async fn upgrade_restarts_no_database(stage: &Stage<'_>) -> Result<()> {
    let formation = stage.standing().await?;
    let before = pods(&formation).await?;
    let upgraded = upgrade(stage.cluster, &formation, &before).await;

    // Whatever was found, the scenarios after this one need the images that are there.
    let rollback = ["rollback", RELEASE, "--namespace", operator::NAMESPACE, "--wait", "--timeout", "3m"];
    helm(stage.cluster, &rollback).await?;
    upgraded?;
    operator::wait_settled(stage.client(), OPERATOR_WITHIN).await?;
    wait_update_available(&formation, false).await?;
    formation.wait_ready(Duration::from_secs(60)).await?;
    unchanged(&formation, &before, "the roll-back").await
}

async fn upgrade(cluster: &Cluster, formation: &Formation, before: &BTreeMap<String, String>) -> Result<()> {
    let image = render(formation).await?.postgres_image;
    let chart = in_repository("charts/lyceum")?;
    let upgrade = [
        "upgrade",
        RELEASE,
        &chart.to_string_lossy(),
        "--namespace",
        operator::NAMESPACE,
        "--reset-then-reuse-values",
        "--set",
        "images.postgres.tag=next,images.postgres.digest=,podAnnotations.scenario=upgrade",
        "--wait",
        "--timeout",
        "3m",
    ];
    helm(cluster, &upgrade).await?;
    operator::wait_settled(&cluster.client, OPERATOR_WITHIN).await?;
    wait_update_available(formation, true).await?;
    ensure!(render(formation).await?.postgres_image == image, "the pinned image moved by itself");
    unchanged(formation, before, "the upgrade").await
}

/// Uninstalling the chart leaves CRDs, CourseShards and running databases, and nothing stuck; installed
/// again, the operator takes the formation up where it was.
pub(crate) async fn uninstall_and_install_again(stage: &Stage<'_>) -> Result<()> {
    let formation = stage.standing().await?;
    let before = pods(&formation).await?;
    let namespace = ["--namespace", operator::NAMESPACE];
    let values =
        helm(stage.cluster, &[&["get", "values", RELEASE, "--output", "yaml"], &namespace[..]].concat())
            .await
            .context("the release is not there to be uninstalled")?;
    let file = std::env::temp_dir().join(format!("lyceum-values-{}.yaml", std::process::id()));
    std::fs::write(&file, values)?;

    let gone = ["uninstall", RELEASE, "--wait", "--timeout", "2m"];
    helm(stage.cluster, &[&gone, &namespace[..]].concat()).await?;
    let outcome = without_operator(stage.cluster, &formation, &before).await;

    // Whatever was found, the scenarios after this one need an operator.
    let (chart, file_name) = (in_repository("charts/lyceum")?, file.to_string_lossy());
    let chart = chart.to_string_lossy();
    let again = ["install", RELEASE, chart.as_ref(), "--values", &file_name, "--wait", "--timeout", "3m"];
    helm(stage.cluster, &[&again, &namespace[..]].concat()).await?;
    std::fs::remove_file(&file)?;
    outcome?;
    operator::wait_settled(stage.client(), OPERATOR_WITHIN).await?;
    formation.wait_ready(Duration::from_secs(90)).await?;
    unchanged(&formation, &before, "the new operator").await
}

async fn without_operator(
    cluster: &Cluster,
    formation: &Formation,
    before: &BTreeMap<String, String>,
) -> Result<()> {
    // helm waits for the Deployment to go; its pods release the lease and go a moment later.
    wait_until("the operator's pods are gone", Duration::from_secs(60), async || {
        let left = operator::pods(&cluster.client).await?;
        let left = left.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
        if left.is_empty() { Ok(Look::Done(())) } else { not_yet(format!("left: {left:?}")) }
    })
    .await?;
    let crds: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    ensure!(
        crds.get_opt("courseshards.lyceum.dev").await?.is_some(),
        "uninstall took the CRD, and all data with it"
    );
    formation.get().await.context("uninstall took the CourseShard")?;
    let mut session = Session::open(formation, "learning").await?;
    session
        .number("SELECT count(*) FROM studying.enrollments")
        .await
        .context("the database must go on serving")?;
    unchanged(formation, before, "uninstall").await
}

/// UIDs of database and pooler pods by name, but for those on their way out already.
async fn pods(formation: &Formation) -> Result<BTreeMap<String, String>> {
    let mut pods = formation.pods_of(Component::Database).await?;
    pods.extend(formation.pods_of(Component::Pooler).await?);
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    Ok(pods.into_iter().map(|pod| (pod.name_any(), pod.uid().unwrap_or_default())).collect())
}

async fn unchanged(formation: &Formation, before: &BTreeMap<String, String>, what: &str) -> Result<()> {
    let now = pods(formation).await?;
    ensure!(now == *before, "{what} replaced pods: {before:?} before, {now:?} now");
    Ok(())
}

async fn render(formation: &Formation) -> Result<lyceum_crds::course_shard::RenderStatus> {
    formation.status().await?.render.context("the formation has no render in its status")
}

async fn wait_update_available(formation: &Formation, wanted: bool) -> Result<()> {
    wait_until(&format!("status says updateAvailable: {wanted}"), Duration::from_secs(60), async || {
        match render(formation).await?.update_available == wanted {
            true => Ok(Look::Done(())),
            false => not_yet("it says otherwise"),
        }
    })
    .await
}
