//! The one binary that is all of Kubernetes, built from `e2e/box`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::{Workplace, golang::go};
use crate::command::output;
use crate::options::Options;
use crate::progress::Progress;

/// What the binary says it is; must be the version that `e2e/box/go.mod` requires.
pub const VERSION: &str = "v1.35.4";

/// The binary in the cache, under the hash of what it is made from; built when it is not there.
///
/// # Errors
/// When it does not build; the message carries the end of the compiler's output.
pub async fn ensure(options: &Options, progress: &Progress) -> Result<PathBuf> {
    let source = options.repository.join("e2e/box");
    let go = go()?;
    let mut ask = Command::new(&go);
    ask.arg("version").current_dir("/");
    let compiler = output(ask, None).await?;
    let mut hash = Sha256::new();
    for file in ["go.mod", "go.sum", "main.go"] {
        let path = source.join(file);
        hash.update(std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
        hash.update([0]);
    }
    hash.update(compiler.trim());
    let key: String = format!("{:x}", hash.finalize()).chars().take(16).collect();
    let directory = options.cache.join(format!("tools/kubernetes-{VERSION}-{key}"));
    let binary = directory.join("box");
    if binary.is_file() {
        return Ok(binary);
    }
    progress
        .step(format!("build Kubernetes {VERSION} (some 7 minutes on 2 cores, once)"), async {
            let place = Workplace::new(&directory)?;
            let mut command = Command::new(&go);
            command
                .args(["build", "-trimpath", "-ldflags"])
                .arg(format!(
                    "-s -w -X k8s.io/component-base/version.gitVersion={VERSION} \
                     -X k8s.io/client-go/pkg/version.gitVersion={VERSION}"
                ))
                .arg("-o")
                .arg(place.aside.join("box"))
                .arg(".")
                .env("CGO_ENABLED", "0")
                .current_dir(&source);
            output(command, None).await?;
            place.finish()
        })
        .await?;
    Ok(binary)
}
