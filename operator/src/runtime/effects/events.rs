//! Events: what `kubectl describe` shows below an object.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType};

use super::Effects;

/// Kubernetes refuses a longer note.
const NOTE_LIMIT: usize = 1024;

impl Effects {
    /// Records an event; the same one repeated within minutes becomes a count.
    ///
    /// Best effort: an event that is not recorded is logged and stops nothing. `reason` is
    /// CamelCase and constant; `note` says what, where and what to do.
    pub async fn event(
        &self,
        regarding: &ObjectReference,
        type_: EventType,
        reason: &str,
        note: impl Into<String>,
    ) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(cut(note.into(), NOTE_LIMIT)),
            action: "Reconcile".into(),
            secondary: None,
        };
        let target = format!(
            "{} {}/{}",
            regarding.kind.as_deref().unwrap_or_default(),
            regarding.namespace.as_deref().unwrap_or_default(),
            regarding.name.as_deref().unwrap_or_default(),
        );
        let publish = self.shared.recorder.publish(&event, regarding);
        if let Err(error) = self.api_call("create", "Event", target, publish).await {
            tracing::warn!(%error, reason, "event not recorded");
        }
    }
}

/// The first `limit` bytes, ending on a character.
fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let mark = "…";
        text.truncate(text.floor_char_boundary(limit - mark.len()));
        text.push_str(mark);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_between_characters() {
        assert_eq!(cut("short".into(), 10), "short");
        let cut = cut("é".repeat(600), NOTE_LIMIT);
        assert!(cut.len() <= NOTE_LIMIT && cut.ends_with('…'), "{} bytes", cut.len());
    }
}
