//! No effect without the lease, none for ever.

use super::{EFFECT_DEADLINE, Effects};
use crate::runtime::{EffectError, Leadership, LostLeadership};

impl Effects {
    /// Lets `call` start and go on only within a valid term.
    pub(super) async fn fenced<T, E>(
        &self,
        verb: &'static str,
        kind: &str,
        target: &str,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<Result<T, E>, EffectError> {
        let _under_way = self.shared.under_way.token();
        let counted = |outcome| self.shared.metrics.effect(verb, kind, outcome);
        self.shared.leadership.check().inspect_err(|_| counted("refused"))?;
        let after = EFFECT_DEADLINE;
        let timed_out = || EffectError::Timeout { verb, target: target.to_owned(), after };
        // The timer is asked first: after a stop (SIGSTOP, a suspended machine) it has run
        // out, and the request is dropped instead of being carried on with.
        let result = tokio::select! {
            biased;
            () = tokio::time::sleep(after) => Err(timed_out()),
            result = fence_each_poll(&self.shared.leadership, call) => result.map_err(Into::into),
        };
        counted(match &result {
            Ok(Ok(_)) => "ok",
            Ok(Err(_)) => "failed",
            Err(EffectError::Timeout { .. }) => "timeout",
            Err(_) => "refused",
        });
        tracing::debug!(verb, target, ok = matches!(result, Ok(Ok(_))), "effect");
        result
    }
}

/// Polls `call` only while the term lasts, so that one stopped half-way in is not resumed.
async fn fence_each_poll<T, E>(
    leadership: &Leadership,
    call: impl Future<Output = Result<T, E>>,
) -> Result<Result<T, E>, LostLeadership> {
    let mut call = std::pin::pin!(call);
    std::future::poll_fn(|context| {
        // The term ends 5 s before anyone else can begin the next one: what was sent until
        // then has that long to arrive.
        leadership.check_under_way()?;
        call.as_mut().poll(context).map(Ok)
    })
    .await
}
