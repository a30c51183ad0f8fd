//! Running a command in a pod, as `kubectl exec` does.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use tokio::io::AsyncReadExt;

/// What a command in a pod printed.
#[derive(Debug)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// It ended with status 0.
    pub success: bool,
}

/// Runs `command` in a pod's `container`.
///
/// # Errors
/// When the command could not be run. A command that ran and failed is an [`Output`].
pub async fn exec(pods: &Api<Pod>, pod: &str, container: &str, command: &[&str]) -> Result<Output> {
    let params = AttachParams::default().container(container).stdin(false);
    let mut process = pods
        .exec(pod, command.iter().copied(), &params)
        .await
        .with_context(|| format!("could not run {command:?} in pod {pod}, container {container}"))?;
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let (mut out, mut err) = (process.stdout(), process.stderr());
    let status = process.take_status();
    // Both at once: a full pipe on one side would block the other for ever.
    let read_out = async {
        match out.as_mut() {
            Some(reader) => reader.read_to_string(&mut stdout).await.map(|_| ()),
            None => Ok(()),
        }
    };
    let read_err = async {
        match err.as_mut() {
            Some(reader) => reader.read_to_string(&mut stderr).await.map(|_| ()),
            None => Ok(()),
        }
    };
    let (read_out, read_err) = tokio::join!(read_out, read_err);
    read_out?;
    read_err?;
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    let success = status.and_then(|s| s.status).as_deref() == Some("Success");
    Ok(Output { stdout, stderr, success })
}

/// Like [`exec`], but a command that failed is an error, with what it printed.
pub async fn exec_ok(pods: &Api<Pod>, pod: &str, container: &str, command: &[&str]) -> Result<String> {
    let output = exec(pods, pod, container, command).await?;
    if !output.success {
        bail!("{command:?} failed in pod {pod}: {}{}", output.stdout, output.stderr);
    }
    Ok(output.stdout)
}
