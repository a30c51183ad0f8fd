//! The admission policies in policies/admission, put to the objects in policies/tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use lyceum_scenarios::config::in_repository;
use lyceum_scenarios::progress::say;
use lyceum_scenarios::stage::Stage;
use lyceum_scenarios::wait::{Look, not_yet, wait_until};
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Longest for the API server to take a new policy up.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(60);

/// The policies accept and refuse every object of policies/tests as its first line says.
pub(crate) async fn every_object_gets_its_verdict(stage: &Stage<'_>) -> Result<()> {
    let namespace = stage.namespace("admission").await?;
    let namespaces: Api<Namespace> = Api::all(stage.client().clone());
    let label = Patch::Merge(json!({"metadata": {"labels": {"lyceum.dev/workloads": "true"}}}));
    namespaces.patch(&namespace, &PatchParams::default(), &label).await?;
    let cases = cases()?;
    let rejected = cases.iter().filter(|case| case.rejected.is_some()).count();
    ensure!(
        rejected >= 6 && cases.len() - rejected >= 4,
        "policies/tests is not whole: {} objects",
        cases.len()
    );

    let made = create_policies(stage.client()).await?;
    let judged = wait_until("every object gets its verdict", IN_FORCE_WITHIN, async || {
        let mut wrong = Vec::new();
        for case in &cases {
            if let Err(how) = case.verdict(stage.client(), &namespace).await? {
                wrong.push(format!("{}: {how}", case.name));
            }
        }
        if wrong.is_empty() { Ok(Look::Done(())) } else { not_yet(wrong.join("\n")) }
    })
    .await;
    for policy in made {
        policy.delete(stage.client()).await?;
    }
    judged?;
    say(format!("{} objects accepted and {rejected} refused as expected", cases.len() - rejected));
    Ok(())
}

/// One object of policies/tests.
struct Case {
    name: String,
    object: Value,
    /// What a refusal must say; `None` for an accepted object.
    rejected: Option<String>,
    /// User that asks, where it is not the administrator.
    user: Option<String>,
}

fn cases() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for folder in entries(&in_repository("policies/tests")?)? {
        for path in entries(&folder)? {
            let text = fs::read_to_string(&path)?;
            let header = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
            let name = format!("{}", path.file_stem().unwrap_or_default().display());
            let rejected = match header("# expect: ").as_deref() {
                Some("accepted") => None,
                Some(verdict) => Some(
                    verdict
                        .strip_prefix("rejected: ")
                        .with_context(|| format!("{name}: {verdict:?} is no verdict"))?
                        .to_owned(),
                ),
                None => bail!("{name} has no line `# expect: `"),
            };
            let object = serde_yaml::from_str(&text).with_context(|| format!("{name} is not YAML"))?;
            cases.push(Case { name, object, rejected, user: header("# as: ") });
        }
    }
    Ok(cases)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)
        .with_context(|| format!("no folder {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

impl Case {
    /// Sends the object as a dry run; the inner error says how the answer differs.
    async fn verdict(&self, client: &Client, namespace: &str) -> Result<std::result::Result<(), String>> {
        let kind = self.object.pointer("/kind").and_then(Value::as_str).unwrap_or_default();
        let collection = match kind {
            "Pod" => "api/v1/namespaces/{}/pods",
            "Deployment" => "apis/apps/v1/namespaces/{}/deployments",
            "Job" => "apis/batch/v1/namespaces/{}/jobs",
            other => bail!("{}: no path is known for kind {other:?}", self.name),
        };
        let mut request = http::Request::builder()
            .method("POST")
            .uri(format!("/{}?dryRun=All", collection.replace("{}", namespace)))
            .header("Content-Type", "application/json");
        if let Some(user) = &self.user {
            request = request.header("Impersonate-User", user);
        }
        let answer = client.request::<Value>(request.body(serde_json::to_vec(&self.object)?)?).await;
        Ok(match (answer, &self.rejected) {
            (Ok(_), None) => Ok(()),
            (Ok(_), Some(_)) => Err("accepted, and must be refused".into()),
            (Err(kube::Error::Api(refusal)), Some(text)) if refusal.message.contains(text) => Ok(()),
            (Err(kube::Error::Api(refusal)), _) => Err(format!("refused: {}", refusal.message)),
            (Err(error), _) => return Err(error.into()),
        })
    }
}

/// An object of policies/admission that this scenario made.
enum Made {
    Policy(String),
    Binding(String),
}

impl Made {
    async fn delete(&self, client: &Client) -> Result<()> {
        let now = DeleteParams::default();
        match self {
            Self::Policy(name) => {
                Api::<ValidatingAdmissionPolicy>::all(client.clone()).delete(name, &now).await?;
            }
            Self::Binding(name) => {
                Api::<ValidatingAdmissionPolicyBinding>::all(client.clone()).delete(name, &now).await?;
            }
        }
        Ok(())
    }
}

/// Creates what is in policies/admission; what is there already stays, and is not handed back.
async fn create_policies(client: &Client) -> Result<Vec<Made>> {
    let mut made = Vec::new();
    for path in entries(&in_repository("policies/admission")?)? {
        let text = fs::read_to_string(&path)?;
        for document in serde_yaml::Deserializer::from_str(&text) {
            let object = Value::deserialize(document)?;
            match object.pointer("/kind").and_then(Value::as_str) {
                Some("ValidatingAdmissionPolicy") => {
                    made.extend(create::<ValidatingAdmissionPolicy>(client, object).await?.map(Made::Policy));
                }
                Some("ValidatingAdmissionPolicyBinding") => {
                    made.extend(
                        create::<ValidatingAdmissionPolicyBinding>(client, object).await?.map(Made::Binding),
                    );
                }
                other => return Err(anyhow!("{}: kind {other:?} is no admission policy", path.display())),
            }
        }
    }
    Ok(made)
}

async fn create<K>(client: &Client, object: Value) -> Result<Option<String>>
where
    K: Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + serde::Serialize,
{
    let object: K = serde_json::from_value(object)?;
    match Api::<K>::all(client.clone()).create(&PostParams::default(), &object).await {
        Ok(_) => Ok(Some(object.name_any())),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error).with_context(|| format!("could not create {}", object.name_any())),
    }
}
