//! The project's own programs, as release binaries.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// Builds packages of the workspace and says where each one's binary is. Cargo decides what there is to do, and
/// where: `CARGO_TARGET_DIR` and its configuration hold.
pub(crate) async fn build(repository: &Path, packages: &[&'static str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--locked", "--message-format=json-render-diagnostics"]);
    for package in packages {
        command.args(["--package", package]);
    }
    let built = command
        .current_dir(repository)
        .stdin(Stdio::null())
        // Compiling takes minutes: cargo's own progress goes where the lab's goes.
        .stderr(Stdio::inherit())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .output()
        .await
        .context("cargo cannot be started: install Rust, rust-toolchain.toml says which")?;
    if !built.status.success() {
        bail!("cargo build of {} failed, see above", packages.join(", "));
    }
    let binaries = executables(&String::from_utf8_lossy(&built.stdout));
    for package in packages {
        if !binaries.contains_key(*package) {
            bail!("cargo built {package}, but no binary of that name: its Cargo.toml has to have one");
        }
    }
    Ok(binaries)
}

/// The executables in cargo's messages, one JSON object a line, by name.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| {
            let executable = message.get("executable")?.as_str()?;
            let name = message.get("target")?.get("name")?.as_str()?;
            Some((name.to_owned(), PathBuf::from(executable)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn of_cargos_messages_those_with_an_executable_count() {
        let found = executables(
            r#"{"reason":"compiler-artifact","target":{"name":"serde","kind":["lib"]},"executable":null}
{"reason":"compiler-artifact","target":{"name":"lyceum-operator","kind":["bin"]},"executable":"/t/release/lyceum-operator"}
{"reason":"build-finished","success":true}
no json"#,
        );
        assert_eq!(
            found,
            BTreeMap::from([("lyceum-operator".to_owned(), PathBuf::from("/t/release/lyceum-operator"))])
        );
    }
}
