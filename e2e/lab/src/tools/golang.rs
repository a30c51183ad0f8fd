//! Programs that `go install` makes from a published version.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::Workplace;
use crate::command::{find, output};
use crate::options::Options;
use crate::progress::Progress;

/// A program in a published Go module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoProgram {
    /// The binary's name.
    pub name: &'static str,
    /// The package that `go install` takes.
    pub package: &'static str,
    /// The module's version.
    pub version: &'static str,
}

/// The cluster's DNS server.
pub const COREDNS: GoProgram =
    GoProgram { name: "coredns", package: "github.com/coredns/coredns", version: "v1.15.0" };

/// The enforcer of NetworkPolicies.
pub const KUBE_ROUTER: GoProgram = GoProgram {
    name: "kube-router",
    package: "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
    version: "v2.1.0",
};

/// The provisioner of volumes that are directories on a node.
pub const LOCAL_PATH_PROVISIONER: GoProgram = GoProgram {
    name: "local-path-provisioner",
    package: "github.com/rancher/local-path-provisioner",
    version: "v0.0.30",
};

/// The Go compiler.
pub(super) fn go() -> Result<PathBuf> {
    find("go")
        .or_else(|| Some(PathBuf::from("/usr/local/go/bin/go")).filter(|path| path.exists()))
        .context("the Go compiler is missing: install Go 1.25 or later and put it on the PATH")
}

/// The program's binary in the cache, static; built when it is not there.
///
/// # Errors
/// When it does not build; the message carries the end of the compiler's output.
pub async fn ensure(options: &Options, progress: &Progress, program: &GoProgram) -> Result<PathBuf> {
    let directory = options.cache.join(format!("tools/{}-{}", program.name, program.version));
    let binary = directory.join(program.name);
    if binary.is_file() {
        return Ok(binary);
    }
    progress
        .step(format!("build {} {}", program.name, program.version), async {
            let place = Workplace::new(&directory)?;
            let mut command = Command::new(go()?);
            command
                .args(["install", "-trimpath", "-ldflags", "-s -w"])
                .arg(format!("{}@{}", program.package, program.version))
                .env("CGO_ENABLED", "0")
                .env("GOBIN", &place.aside)
                .current_dir("/");
            output(command, None).await?;
            place.finish()
        })
        .await?;
    Ok(binary)
}
