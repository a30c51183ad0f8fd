//! Running other programs and making their failures readable.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A program that could not be run, or that ended with a failure.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The program did not start; mostly it is not installed.
    #[error("{program} cannot be started: {source}")]
    Start {
        /// The program as it was called.
        program: String,
        /// Why the kernel refused.
        source: std::io::Error,
    },
    /// The program said no.
    #[error("`{line}` ended with {status}: {said}")]
    Failed {
        /// The whole command line.
        line: String,
        /// Exit code or signal.
        status: std::process::ExitStatus,
        /// The end of what it wrote to standard error.
        said: String,
    },
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// [`CommandError`], with the end of what the program wrote.
pub async fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<String, CommandError> {
    let mut command = Command::new(program);
    command.args(arguments);
    output(command, None).await
}

/// As [`run`], with text on the program's standard input.
///
/// # Errors
/// [`CommandError`], with the end of what the program wrote.
pub async fn run_with_input<S: AsRef<OsStr>>(
    program: &str,
    arguments: &[S],
    input: &str,
) -> Result<String, CommandError> {
    let mut command = Command::new(program);
    command.args(arguments);
    output(command, Some(input)).await
}

/// Runs a prepared command (environment, working directory) and returns its standard output.
///
/// # Errors
/// [`CommandError`], with the end of what the program wrote.
pub async fn output(mut command: Command, input: Option<&str>) -> Result<String, CommandError> {
    let line = describe(&command);
    let start = |source| CommandError::Start {
        program: line.split(' ').next().unwrap_or_default().to_owned(),
        source,
    };
    command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(start)?;
    if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
        // A program that ends before it has read all tells why by its status, which is looked at below.
        let _ = pipe.write_all(input.as_bytes()).await;
    }
    let ended = child.wait_with_output().await.map_err(start)?;
    if ended.status.success() {
        return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
    }
    let mut said = tail(&String::from_utf8_lossy(&ended.stderr), 12);
    if said.is_empty() {
        said = tail(&String::from_utf8_lossy(&ended.stdout), 12);
    }
    Err(CommandError::Failed { line, status: ended.status, said })
}

/// Where a program is, as the shell would find it.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Debian keeps administrators' programs in sbin, which a user's PATH may lack even as root.
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
}

/// The last lines of a text, on one line each.
#[must_use]
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = all.len().saturating_sub(lines);
    all.get(from..).unwrap_or_default().join("\n")
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn describe(command: &Command) -> String {
    let command = command.as_std();
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[tokio::test]
    async fn a_failure_carries_the_command_and_what_it_said() {
        let error = run("sh", &["-c", "echo no such course >&2; exit 3"]).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("no such course") && text.contains("exit status: 3"), "{text}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let error = run("lyceum-no-such-program", &["x"]).await.unwrap_err();
        assert!(error.to_string().starts_with("lyceum-no-such-program cannot be started"), "{error}");
    }

    #[tokio::test]
    async fn input_reaches_the_program() {
        assert_eq!(run_with_input("cat", &[] as &[&str], "lesson").await.unwrap(), "lesson");
    }

    #[test]
    fn a_tail_is_the_last_lines_without_blank_ones() {
        assert_eq!(tail("a\n\nb\nc\n", 2), "b\nc");
    }
}
