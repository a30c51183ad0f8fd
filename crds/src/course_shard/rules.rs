//! The rules of a CourseShard: CEL for the API server, evaluated by [`crate::validate`]
//! on the very same strings. Tables and bounds are interpolated from Rust, so a rule
//! and the code that relies on it have one source.
//!
//! A message is one sentence: the field's full path, then what to do about it.

use kube::core::{Message, Rule};

use super::engines::{CITUS_LINES, MAJORS, SHIPPED_MAJOR};
use super::limits::{SETTING_NAME_MAX_LENGTH, SHARDS_MAX};
use super::names::NAME_MAX_LENGTH;
use super::reserved::{NAME_CHARACTERS, RESERVED, RESERVED_PREFIXES};
use crate::budget;

fn rule(expression: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule::new(expression).message(Message::Message(message.into()))
}

/// A rule whose message is itself CEL, for sentences with numbers in them.
fn rule_with_values(expression: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule::new(expression).message(Message::Expression(message.into()))
}

// Of the whole object.

pub(super) fn name() -> Rule {
    rule(
        format!(
            "self.metadata.name.size() <= {NAME_MAX_LENGTH} && \
             self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"
        ),
        format!(
            "metadata.name must have at most {NAME_MAX_LENGTH} characters out of a-z, 0-9 and '-', \
             begin with a letter and end with a letter or digit, for pods and Services are named after it"
        ),
    )
}

pub(super) fn formation_id_is_kept() -> Rule {
    rule(
        "!has(oldSelf.status) || !has(oldSelf.status.formationId) || (has(self.status) && \
         has(self.status.formationId) && self.status.formationId == oldSelf.status.formationId)",
        "status.formationId names volumes, secrets and replication slots and cannot be changed or removed: \
         write it back as it was",
    )
}

// Of the spec.

pub(super) fn citus_with_workers() -> Rule {
    rule(
        "has(self.postgres.citus) == (self.workers.count > 0)",
        "spec.postgres.citus is required when spec.workers.count is above 0 and must be left out when it is 0",
    )
}

pub(super) fn durability_coordinator() -> Rule {
    rule(
        "self.durability != 'Required' || self.coordinator.instances >= 2",
        "spec.coordinator.instances must be at least 2 with spec.durability Required: without a synchronous \
         replica every write would wait",
    )
}

pub(super) fn durability_workers() -> Rule {
    rule(
        "self.durability != 'Required' || self.workers.count == 0 || self.workers.instances >= 2",
        "spec.workers.instances must be at least 2 with spec.durability Required: without a synchronous \
         replica every write would wait",
    )
}

pub(super) fn shards_for_every_worker() -> Rule {
    rule(
        "self.shardCount >= 1 && self.shardCount >= self.workers.count",
        format!(
            "spec.shardCount must be from 1 to {SHARDS_MAX} and at least spec.workers.count, or some workers \
             would hold no shard"
        ),
    )
}

pub(super) fn shard_count_is_kept() -> Rule {
    rule(
        "self.shardCount == oldSelf.shardCount",
        "spec.shardCount is set once at creation and cannot be changed: put the old value back, or create a \
         new CourseShard and move the data",
    )
}

pub(super) fn schema_version_only_rises() -> Rule {
    rule(
        "!has(oldSelf.schemaVersion) || (has(self.schemaVersion) && self.schemaVersion >= oldSelf.schemaVersion)",
        "spec.schemaVersion cannot be lowered or removed, for migrations only go forward: put the old value \
         back or raise it",
    )
}

// The API server prices a message by the length of its parts, and a number turned into
// text has none it knows; `format` is priced by its template.

pub(super) fn coordinator_budget() -> Rule {
    let needed = budget::cel::coordinator_needed();
    rule_with_values(
        format!("self.coordinator.parameters.maxConnections >= {needed}"),
        format!(
            "'spec.coordinator.parameters.maxConnections is %d but the budget needs %d: raise it, or lower \
             spec.pooler.instances or spec.pooler.serverConnections'\
             .format([self.coordinator.parameters.maxConnections, {needed}])"
        ),
    )
}

pub(super) fn workers_budget() -> Rule {
    let needed = budget::cel::worker_needed();
    rule_with_values(
        format!("self.workers.count == 0 || self.workers.parameters.maxConnections >= {needed}"),
        format!(
            "'spec.workers.parameters.maxConnections is %d but the budget needs %d, for each coordinator \
             backend keeps a connection to each worker: raise it, or lower spec.pooler.instances or \
             spec.pooler.serverConnections'.format([self.workers.parameters.maxConnections, {needed}])"
        ),
    )
}

// Of spec.postgres.

pub(super) fn major_is_known() -> Rule {
    let majors = list(MAJORS);
    rule(format!("self.major in [{majors}]"), format!("spec.postgres.major must be one of {majors}"))
}

pub(super) fn citus_is_known() -> Rule {
    rule(
        format!("!has(self.citus) || self.citus in [{}]", citus_names()),
        format!("spec.postgres.citus must be one of {}", citus_names()),
    )
}

pub(super) fn citus_fits_major() -> Rule {
    let fits: Vec<String> = CITUS_LINES
        .iter()
        .map(|line| format!("(self.citus == '{}' && self.major in [{}])", line.name, list(line.majors)))
        .collect();
    let sentence: Vec<String> = CITUS_LINES
        .iter()
        .map(|line| format!("Citus {} runs on PostgreSQL {}", line.name, list(line.majors)))
        .collect();
    rule(
        // An unknown line has its own sentence.
        format!("!has(self.citus) || !(self.citus in [{}]) || {}", citus_names(), fits.join(" || ")),
        format!("spec.postgres.citus does not fit spec.postgres.major: {}", sentence.join("; ")),
    )
}

pub(super) fn image_for_other_majors() -> Rule {
    rule(
        format!("self.major == {SHIPPED_MAJOR} || has(self.image)"),
        format!(
            "spec.postgres.image is required when spec.postgres.major is not {SHIPPED_MAJOR}, the only major \
             an image is shipped for: name an image or use {SHIPPED_MAJOR}"
        ),
    )
}

pub(super) fn major_is_not_lowered() -> Rule {
    rule(
        "self.major >= oldSelf.major",
        "spec.postgres.major cannot be lowered, for an older PostgreSQL cannot read the data: put the old \
         value back",
    )
}

pub(super) fn major_is_not_raised() -> Rule {
    rule(
        "self.major <= oldSelf.major",
        "spec.postgres.major cannot be raised yet: put the old value back, or create a new CourseShard and \
         move the data",
    )
}

pub(super) fn citus_is_not_lowered() -> Rule {
    rule(
        format!("!has(self.citus) || !has(oldSelf.citus) || !({})", citus_changes(|old, new| new < old)),
        "spec.postgres.citus cannot be lowered, for an older Citus cannot read the metadata: put the old \
         value back",
    )
}

pub(super) fn citus_is_not_raised() -> Rule {
    rule(
        format!("!has(self.citus) || !has(oldSelf.citus) || !({})", citus_changes(|old, new| new > old)),
        "spec.postgres.citus cannot be raised yet: put the old value back",
    )
}

/// Changes from one line to another, chosen by their places in the table: as text,
/// "9.5" would come after "13.2".
fn citus_changes(choose: impl Fn(usize, usize) -> bool) -> String {
    let pairs: Vec<String> = CITUS_LINES
        .iter()
        .enumerate()
        .flat_map(|old| CITUS_LINES.iter().enumerate().map(move |new| (old, new)))
        .filter(|((old, _), (new, _))| choose(*old, *new))
        .map(|((_, old), (_, new))| {
            format!("(oldSelf.citus == '{}' && self.citus == '{}')", old.name, new.name)
        })
        .collect();
    pairs.join(" || ")
}

// Of spec.coordinator and spec.workers; `group` is the path of either.

pub(super) fn instances(group: &str) -> Rule {
    rule("self.instances >= 1", format!("{group}.instances must be at least 1: it counts the primary"))
}

pub(super) fn wal_volume_is_kept(group: &str) -> Rule {
    rule(
        "has(self.walStorage) == has(oldSelf.walStorage)",
        format!("{group}.walStorage can only be given or left out at creation: put it back as it was"),
    )
}

pub(super) fn workers_have_storage() -> Rule {
    rule(
        "self.count == 0 || has(self.storage)",
        "spec.workers.storage is required when spec.workers.count is above 0: give it a size",
    )
}

pub(super) fn workers_stay_or_stay_away() -> Rule {
    rule(
        "(self.count == 0) == (oldSelf.count == 0)",
        "spec.workers.count cannot change between 0 and more yet: put the old value back, or create a new \
         CourseShard and move the data",
    )
}

pub(super) fn workers_are_not_removed() -> Rule {
    rule(
        "self.count >= oldSelf.count",
        "spec.workers.count cannot be lowered yet, for the shards of a removed worker would be lost: put the \
         old value back",
    )
}

// Of a volume; `volume` is its path.

/// Whole binary units only: what a person reads is what the disk has, and any two
/// sizes compare without rounding.
pub(super) fn size(volume: &str) -> Rule {
    rule(
        "self.size.matches('^[1-9][0-9]{0,5}(Mi|Gi|Ti)$')",
        format!("{volume}.size must be a whole number of Mi, Gi or Ti, such as 20Gi"),
    )
}

pub(super) fn size_does_not_shrink(volume: &str) -> Rule {
    rule(
        // A size that is no quantity has its own sentence.
        "!isQuantity(self.size) || !quantity(self.size).isLessThan(quantity(oldSelf.size))",
        format!("{volume}.size cannot shrink, for volumes only grow: put the old size back or raise it"),
    )
}

pub(super) fn class_is_kept(volume: &str) -> Rule {
    rule(
        "has(self.class) == has(oldSelf.class) && (!has(self.class) || self.class == oldSelf.class)",
        format!("{volume}.class is set once at creation and cannot be changed: put it back as it was"),
    )
}

// Of parameters; `parameters` is their path.

/// The API server prices a regular expression by the longest string, and a map's key
/// has no bound of its own; looking at one character at a time has a price.
pub(super) fn setting_names(parameters: &str) -> Rule {
    let places: Vec<String> = (0..SETTING_NAME_MAX_LENGTH).map(|place| place.to_string()).collect();
    rule(
        format!(
            "!has(self.settings) || self.settings.all(name, name.size() >= 1 && \
             name.size() <= {SETTING_NAME_MAX_LENGTH} && [{}].all(place, place >= name.size() || \
             '{NAME_CHARACTERS}'.indexOf(name.charAt(place)) >= 0))",
            places.join(",")
        ),
        format!(
            "{parameters}.settings must be keyed by PostgreSQL's names in lower case: at most \
             {SETTING_NAME_MAX_LENGTH} characters out of a-z, 0-9, '_' and '.'"
        ),
    )
}

pub(super) fn setting_values(parameters: &str) -> Rule {
    rule(
        "!has(self.settings) || self.settings.all(name, !self.settings[name].matches('[[:cntrl:]]'))",
        format!("{parameters}.settings must have values of one line without control characters"),
    )
}

pub(super) fn settings_leave_out_reserved(parameters: &str) -> Rule {
    let names: Vec<String> = RESERVED.iter().map(|name| format!("'{name}'")).collect();
    let prefixes: Vec<String> = RESERVED_PREFIXES.iter().map(|prefix| format!("'{prefix}'")).collect();
    let said: Vec<String> = RESERVED
        .iter()
        .map(|name| format!("('{name}' in self.settings ? ' {name}' : '')"))
        .chain(RESERVED_PREFIXES.iter().map(|prefix| {
            format!("(self.settings.exists(name, name.startsWith('{prefix}')) ? ' {prefix}*' : '')")
        }))
        .collect();
    rule_with_values(
        format!(
            "!has(self.settings) || (![{}].exists(name, name in self.settings) && \
             !self.settings.exists(name, [{}].exists(prefix, name.startsWith(prefix))))",
            names.join(","),
            prefixes.join(",")
        ),
        format!(
            "'{parameters}.settings must leave out what the operator sets itself:' + {}",
            said.join(" + ")
        ),
    )
}

// Of spec.pooler.

pub(super) fn pooler_instances() -> Rule {
    rule("self.instances >= 1", "spec.pooler.instances must be at least 1: services connect through it")
}

fn list(numbers: &[i32]) -> String {
    numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")
}

fn citus_names() -> String {
    CITUS_LINES.iter().map(|line| format!("'{}'", line.name)).collect::<Vec<_>>().join(", ")
}
