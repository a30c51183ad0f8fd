//! Who gets in: network policies and Pod Security.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use lyceum_crds::course_shard::names::{Component, PATRONI_PORT, POSTGRES_CONTAINER, POSTGRES_PORT};
use lyceum_scenarios::exec::exec_ok;
use lyceum_scenarios::formation::Formation;
use lyceum_scenarios::podrun::PodRun;
use lyceum_scenarios::progress::say;
use lyceum_scenarios::stage::Stage;
use serde_json::json;

/// Pods with this label, its value the CourseShard's name, are clients.
const CLIENT_OF: &str = "lyceum.dev/client-of";

/// A labelled client gets through to the pooler and the database; the same pod without the label
/// to neither; nobody but the members to Patroni. The label is the only difference.
pub(crate) async fn only_clients_get_through(stage: &Stage<'_>) -> Result<()> {
    let formation = stage.standing().await?;
    let image = formation.status().await?.render.unwrap_or_default().postgres_image;
    let script = knock(&formation);
    let client = BTreeMap::from([(CLIENT_OF.to_owned(), formation.name().to_owned())]);

    let (allowed, denied) = tokio::try_join!(
        look(stage, &formation, "client", &image, &script, client),
        look(stage, &formation, "stranger", &image, &script, BTreeMap::new())
    )?;
    ensure!(
        allowed == ["pooler open", "database open", "patroni closed"],
        "a pod with the label {CLIENT_OF} must reach pooler and database and not Patroni, but: {allowed:?}"
    );
    ensure!(
        denied == ["pooler closed", "database closed", "patroni closed"],
        "a pod without the label must reach nothing, but: {denied:?}"
    );

    // The control for "patroni closed": the port is open to those who need it.
    let member = formation.primary(0).await?.name_any();
    let peer = format!("exec 3<>/dev/tcp/{}/{PATRONI_PORT} && echo open", formation.names.pod_host(&member));
    let peer = exec_ok(&formation.pods(), &member, POSTGRES_CONTAINER, &["bash", "-c", &peer]).await?;
    ensure!(peer.trim() == "open", "a member does not reach Patroni's port: {peer}");
    Ok(())
}

/// A script that knocks at the three doors; several times, as a policy takes a moment to know a new pod.
fn knock(formation: &Formation) -> String {
    let pooler = formation.names.service_fqdn(&formation.names.pooler());
    let database = formation.names.service_fqdn(&formation.names.primary_service(0));
    format!(
        "knock() {{ for try in 1 2; do \
           timeout 3 bash -c \"exec 3<>/dev/tcp/$2/$3\" 2>/dev/null && {{ echo \"$1 open\"; return; }}; sleep 1; \
         done; echo \"$1 closed\"; }}; \
         knock pooler {pooler} {POSTGRES_PORT}; \
         knock database {database} {POSTGRES_PORT}; \
         knock patroni {database} {PATRONI_PORT}"
    )
}

async fn look(
    stage: &Stage<'_>,
    formation: &Formation,
    name: &str,
    image: &str,
    script: &str,
    labels: BTreeMap<String, String>,
) -> Result<Vec<String>> {
    let run = PodRun { name, image, labels, script };
    let ended = run.run(stage.client(), formation.namespace(), Duration::from_secs(90)).await?;
    say(format!("{name}: {}", ended.log.trim().replace('\n', ", ")));
    Ok(ended.log.lines().map(str::to_owned).collect())
}

/// Every pod of a formation runs where Pod Security `restricted` is enforced.
pub(crate) async fn pods_run_under_restricted(stage: &Stage<'_>) -> Result<()> {
    let formation = stage.standing().await?;
    let namespaces: Api<Namespace> = Api::all(stage.client().clone());
    let enforced = namespaces.get(formation.namespace()).await?.labels().clone();
    ensure!(
        enforced.get("pod-security.kubernetes.io/enforce").map(String::as_str) == Some("restricted"),
        "the namespace does not enforce `restricted`: {enforced:?}"
    );
    // The control: enforcement refuses a pod as soon as one of the rules is broken.
    let root: Pod = serde_json::from_value(json!({
        "metadata": {"name": "root"},
        "spec": {"containers": [{"name": "root", "image": "none", "securityContext": {"runAsUser": 0}}]},
    }))?;
    match formation.pods().create(&PostParams { dry_run: true, ..PostParams::default() }, &root).await {
        Err(kube::Error::Api(status)) if status.code == 403 => {}
        other => bail!("a pod that runs as root was not refused: {other:?}"),
    }
    for component in [Component::Database, Component::Pooler] {
        let pods = formation.pods_of(component).await?;
        ensure!(!pods.is_empty(), "no pod of component {}", component.as_str());
        say(format!("{} {} pods run under restricted", pods.len(), component.as_str()));
    }
    Ok(())
}
