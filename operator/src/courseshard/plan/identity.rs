//! Which formation a CourseShard is: one of its own, or one retained under its name.

use kube::ResourceExt;
use lyceum_crds::course_shard::{CourseShard, CourseShardStatus, names::Names, reasons};
use sha2::{Digest, Sha256};

use super::{Event, Plan};
use crate::{courseshard::observed::Observed, runtime::Next};

/// Characters of a formation id's suffix.
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// 36⁶ = 2 billion: two formations of one name are told apart.
const SUFFIX_LENGTH: usize = 6;

/// Settles the formation's id. It goes into status alone, and everything is made under it
/// from the next look on.
pub(super) fn name_formation(
    names: &Names,
    shard: &CourseShard,
    observed: &Observed,
    before: CourseShardStatus,
) -> Plan {
    let retained = observed.secrets.get(&names.auth_secret()).and_then(|secret| secret.formation.clone());
    let (id, events) = match retained {
        Some(id) => {
            let note = format!(
                "found formation {id}, retained under this name: its data and its passwords come back"
            );
            (id, vec![Event::normal(reasons::ADOPTED, note)])
        }
        None => (names.formation_id(&suffix(&shard.uid().unwrap_or_default())), Vec::new()),
    };
    Plan {
        status: CourseShardStatus { formation_id: Some(id), ..before },
        events,
        next: Next::After(std::time::Duration::ZERO),
        ..Plan::default()
    }
}

/// Six characters out of the object's uid: unique as it is, and the same if the process
/// dies before the id was written.
fn suffix(uid: &str) -> String {
    let alphabet =
        |byte: &u8| ALPHABET.get(usize::from(*byte) % ALPHABET.len()).map(|letter| char::from(*letter));
    Sha256::digest(uid.as_bytes()).iter().filter_map(alphabet).take(SUFFIX_LENGTH).collect()
}

/// A formation that has run and whose passwords or authority are gone can't be given new
/// ones: its database knows the old. Says what is missing and what to do.
pub(super) fn lost_secrets(names: &Names, formation: &str, observed: &Observed) -> Option<String> {
    if !observed.patroni.values().any(|patroni| patroni.initialised) {
        return None;
    }
    let missing: Vec<_> = [names.ca_secret(), names.auth_secret()]
        .into_iter()
        .filter(|name| !observed.secrets.contains_key(name))
        .collect();
    (!missing.is_empty()).then(|| {
        format!(
            "Secret {} of formation {formation} is gone, and its database knows no other passwords and certificates; \
             restore it from a backup",
            missing.join(", ")
        )
    })
}
