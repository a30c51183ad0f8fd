//! The offline check and the API server agree on every object of the corpus in crds/tests.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use kube::Client;
use kube::core::Status;
use lyceum_crds::validate::{check_status_update, check_update, check_yaml};
use lyceum_scenarios::config::in_repository;
use lyceum_scenarios::operator;
use lyceum_scenarios::progress::say;
use lyceum_scenarios::stage::Stage;
use serde_json::Value;

/// How a file of the corpus is put to the API server.
#[derive(Clone, Copy)]
enum Kind {
    /// One document, created.
    Create,
    /// Two documents: the first is created, then replaced by the second.
    Update,
    /// Two documents: the first is created with its status, then the status is replaced by the second's.
    Status,
}

const FOLDERS: [(&str, Kind); 3] = [("", Kind::Create), ("update", Kind::Update), ("status", Kind::Status)];

/// Every verdict of the API server is the offline check's, and names the same field.
pub(crate) async fn the_api_server_agrees(stage: &Stage<'_>) -> Result<()> {
    let server = Server { client: stage.client().clone(), namespace: stage.namespace("corpus").await? };
    // With an operator at work, the statuses of the corpus would not be the ones that are replaced.
    let replicas = operator::suspend(stage.client()).await?;
    let judged = judge_all(&server).await;
    operator::resume(stage.client(), replicas).await?;
    operator::wait_settled(stage.client(), Duration::from_secs(90)).await?;
    let (accepted, rejected) = judged?;
    ensure!(
        accepted > 30 && rejected > 30,
        "only {accepted} accepted and {rejected} rejected: is the corpus whole?"
    );
    say(format!("{accepted} objects accepted and {rejected} rejected, by both alike"));
    Ok(())
}

async fn judge_all(server: &Server) -> Result<(usize, usize)> {
    let corpus = in_repository("crds/tests/corpus")?;
    let (mut accepted, mut rejected, mut differ) = (0, 0, Vec::new());
    for (folder, kind) in FOLDERS {
        let mut files =
            fs::read_dir(corpus.join(folder))?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
        files.sort();
        for path in files {
            let name = format!("{folder}/{}", path.file_stem().unwrap_or_default().to_string_lossy());
            match one(server, kind, &path).await.with_context(|| name.clone())? {
                Ok(true) => accepted += 1,
                Ok(false) => rejected += 1,
                Err(how) => differ.push(format!("{name}: {how}")),
            }
        }
    }
    ensure!(differ.is_empty(), "{} verdicts differ:\n{}", differ.len(), differ.join("\n"));
    Ok((accepted, rejected))
}

/// Whether both accept the file; the inner error says how they differ.
async fn one(server: &Server, kind: Kind, path: &Path) -> Result<std::result::Result<bool, String>> {
    let text = fs::read_to_string(path)?;
    let pair = || text.split_once("\n---\n").ok_or_else(|| anyhow!("no second document"));
    let (findings, verdict) = match kind {
        Kind::Create => (check_yaml(&text), server.create(&text).await?),
        Kind::Update => {
            let (old, new) = pair()?;
            (check_update(old, new), server.update(&read(old)?, &read(new)?, "").await?)
        }
        Kind::Status => {
            let (old, new) = pair()?;
            (check_status_update(old, new), server.update(&read(old)?, &read(new)?, "/status").await?)
        }
    };
    let offline = findings.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>();
    Ok(match (offline.is_empty(), verdict) {
        (true, Verdict::Accepted) => Ok(true),
        (true, Verdict::Refused(why)) => Err(format!("accepted offline, refused by the API server: {why}")),
        (false, Verdict::Accepted) => {
            Err(format!("accepted by the API server, refused offline: {offline:?}"))
        }
        (false, Verdict::Refused(why)) => {
            // Both speak of the same thing: the field that the corpus expects is in both answers.
            let field = text.lines().next().and_then(|line| line.strip_prefix("# expect: rejected: "));
            let field = field.and_then(|expected| expected.split_whitespace().next()).unwrap_or("spec");
            match why.contains(field) {
                true => Ok(false),
                false => Err(format!("{field} is not in the API server's answer: {why}")),
            }
        }
    })
}

fn read(text: &str) -> Result<Value> {
    serde_yaml::from_str(text).context("not YAML")
}

enum Verdict {
    Accepted,
    Refused(String),
}

/// CourseShards of one namespace, put to the API server as kubectl puts them: unknown fields are errors.
struct Server {
    client: Client,
    namespace: String,
}

impl Server {
    /// As the YAML it is, so that the API server reads `off` and `1.0` the way it does for kubectl.
    async fn create(&self, text: &str) -> Result<Verdict> {
        let answer = self.send("POST", "", ("application/yaml", text.as_bytes().to_vec()), true).await?;
        Ok(match answer {
            Ok(_) => Verdict::Accepted,
            Err(refusal) => Verdict::Refused(refusal.message),
        })
    }

    /// Creates `old`, tries to replace it by `new`, and deletes it again.
    async fn update(&self, old: &Value, new: &Value, subresource: &str) -> Result<Verdict> {
        let name = old.pointer("/metadata/name").and_then(Value::as_str).context("the object has no name")?;
        let path = format!("/{name}");
        let mut stored = self.must("POST", "", old).await?;
        if subresource == "/status" && old.get("status").is_some() {
            stored = self.must("PUT", &format!("{path}{subresource}"), &versioned(old, &stored)).await?;
        }
        let answer = self.ask("PUT", &format!("{path}{subresource}"), &versioned(new, &stored), true).await;
        self.must("DELETE", &path, &Value::Null).await?;
        Ok(match answer? {
            Ok(_) => Verdict::Accepted,
            Err(refusal) => Verdict::Refused(refusal.message),
        })
    }

    async fn must(&self, method: &str, path: &str, object: &Value) -> Result<Value> {
        match self.ask(method, path, object, false).await? {
            Ok(stored) => Ok(stored),
            Err(refusal) => bail!("{method} {path} was refused: {}", refusal.message),
        }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        object: &Value,
        dry_run: bool,
    ) -> Result<std::result::Result<Value, Box<Status>>> {
        let body = if object.is_null() { Vec::new() } else { serde_json::to_vec(object)? };
        self.send(method, path, ("application/json", body), dry_run).await
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        (kind, body): (&str, Vec<u8>),
        dry_run: bool,
    ) -> Result<std::result::Result<Value, Box<Status>>> {
        let url = format!(
            "/apis/lyceum.dev/v1alpha1/namespaces/{}/courseshards{path}?fieldValidation=Strict{}",
            self.namespace,
            if dry_run { "&dryRun=All" } else { "" }
        );
        let request =
            http::Request::builder().method(method).uri(url).header("Content-Type", kind).body(body)?;
        match self.client.request::<Value>(request).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(kube::Error::Api(refusal)) => Ok(Err(refusal)),
            Err(error) => Err(error.into()),
        }
    }
}

/// The object as a replacement of what is stored.
fn versioned(object: &Value, stored: &Value) -> Value {
    let mut object = object.clone();
    let version = stored.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".into(), version);
    }
    object
}
