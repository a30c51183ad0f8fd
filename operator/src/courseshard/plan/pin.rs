//! A changed template or image never restarts a database by itself: what a formation is
//! rendered from is pinned in its status until a person takes the new one over.

use lyceum_crds::course_shard::{CourseShardSpec, RenderStatus};

use crate::courseshard::render::{Images, REVISION};

/// What to render from, and what to report.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pin {
    /// Images in use.
    pub(super) images: Images,
    /// As status reports it.
    pub(super) status: RenderStatus,
    /// The annotation was obeyed and must go: it stands for one take-over.
    pub(super) taken_over: bool,
}

/// Pins to what the operator has when nothing is pinned yet, or when the annotation names
/// the operator's revision. `annotation` is the value of `lyceum.dev/take-over-render`.
pub(super) fn pin(
    spec: &CourseShardSpec,
    pinned: Option<&RenderStatus>,
    annotation: Option<&str>,
    ours: &Images,
) -> Pin {
    // An image of the person's own is theirs to change, whatever is pinned.
    let newest = Images {
        postgres: spec.postgres.image.clone().unwrap_or_else(|| ours.postgres.clone()),
        ..ours.clone()
    };
    let taken_over = annotation.is_some_and(|revision| revision.trim() == REVISION.to_string());
    let (revision, images) = match pinned {
        Some(pinned) if !taken_over => {
            let postgres = match &spec.postgres.image {
                Some(own) => own.clone(),
                None => pinned.postgres_image.clone(),
            };
            // The migrator is a Job that ends: it always comes from the operator's own release,
            // which is the one that knows the newest schema.
            let images =
                Images { postgres, pooler: pinned.pooler_image.clone(), migrator: ours.migrator.clone() };
            (pinned.revision, images)
        }
        _ => (REVISION, newest.clone()),
    };
    let update_available = revision != REVISION || images != newest;
    let status = RenderStatus {
        revision,
        postgres_image: images.postgres.clone(),
        pooler_image: images.pooler.clone(),
        update_available,
        available_revision: update_available.then_some(REVISION),
    };
    // Taken off only once status holds the new pin: until then it is what asks for it.
    let done = taken_over && pinned == Some(&status);
    Pin { images, status, taken_over: done }
}
