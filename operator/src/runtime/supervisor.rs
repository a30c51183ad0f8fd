//! Keeps the parts of the process together: if one ends, all do.
//!
//! A leader whose status writer has panicked, and whose other tasks renew the lease all
//! the same, is worse than none (linkerd/linkerd2#15506).

use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinSet};

/// Tasks that are meant to run for as long as the process.
#[derive(Default)]
pub struct Supervisor {
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, String>,
}

/// A task that ended although it was not meant to.
#[derive(Debug, thiserror::Error)]
#[error("task {task} {how}")]
pub struct TaskEnded {
    task: String,
    how: String,
}

impl Supervisor {
    /// Starts a task.
    pub fn spawn(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, name.into());
    }

    /// Waits until any task ends, in whatever way. Never returns if there is none.
    pub async fn ended(&mut self) -> TaskEnded {
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, Ok(())))) => self.report(id, "returned".into()),
            Some(Ok((id, Err(error)))) => self.report(id, format!("failed: {error:#}")),
            Some(Err(error)) => self.report(error.id(), how(error)),
            None => std::future::pending().await,
        }
    }

    /// Stops every task at its next await.
    pub fn abort_all(&mut self) {
        self.tasks.abort_all();
    }

    fn report(&mut self, id: Id, how: String) -> TaskEnded {
        let task = self.names.remove(&id).unwrap_or_else(|| "(unnamed)".into());
        TaskEnded { task, how }
    }
}

fn how(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => format!("panicked: {}", super::controller::panic_text(panic.as_ref())),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[tokio::test]
    async fn any_end_of_a_task_is_noticed_and_named() {
        for (how, expected) in [
            (0, "task watch returned"),
            (1, "task watch failed: socket closed"),
            (2, "task watch panicked: index out of reach"),
        ] {
            let mut supervisor = Supervisor::default();
            supervisor.spawn("steady", std::future::pending());
            supervisor.spawn("watch", async move {
                match how {
                    0 => Ok(()),
                    1 => Err(anyhow::anyhow!("socket closed")),
                    _ => panic!("index out of reach"),
                }
            });
            assert_eq!(supervisor.ended().await.to_string(), expected);
        }
    }
}
