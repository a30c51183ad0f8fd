//! What is known of a formation when it is planned: plain data, so that a test can
//! write down any situation.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lyceum_crds::course_shard::names::Component;
use serde_json::Value;

/// Everything [`super::plan::plan`] looks at beside the CourseShard itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Pods of the formation, whatever they are for.
    pub pods: Vec<PodSeen>,
    /// Patroni's state of each group that has any.
    pub patroni: BTreeMap<i32, PatroniSeen>,
    /// Secrets of our names, by name.
    pub secrets: BTreeMap<String, SecretSeen>,
    /// Migrator Jobs, oldest first.
    pub jobs: Vec<JobSeen>,
    /// What the canary last saw of the database; nothing before it connected once.
    pub database: DatabaseSeen,
    /// Volume claims of the formation; looked up only while it is being deleted.
    pub claims: Vec<Named>,
    /// StatefulSets of ours.
    pub statefulsets: Vec<Named>,
}

/// An object by name and uid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Name.
    pub name: String,
    /// Uid, the precondition of a deletion.
    pub uid: String,
}

/// One pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodSeen {
    /// Name.
    pub name: String,
    /// What it is for.
    pub component: Component,
    /// Citus group of a database pod.
    pub group: Option<i32>,
    /// Kubernetes says that it is ready.
    pub ready: bool,
    /// It is being deleted.
    pub terminating: bool,
    /// Hash of the template it was made from.
    pub template: Option<String>,
    /// Why it is not ready, since when.
    pub waiting: Option<String>,
    /// What Patroni in it says of itself.
    pub member: Option<MemberSeen>,
}

/// What a member says of itself, in the annotation `status` of its pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemberSeen {
    /// Patroni's label on the pod is the leader's.
    pub leader: bool,
    /// `running`, `starting`, `creating replica`, …
    pub state: String,
    /// PostgreSQL timeline.
    pub timeline: Option<i64>,
    /// Last WAL position: written by a primary, replayed or received by a replica.
    pub position: Option<i64>,
    /// A changed setting waits for a restart of PostgreSQL.
    pub pending_restart: bool,
}

/// What Patroni's own objects say of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PatroniSeen {
    /// Member that holds the leader's object.
    pub leader: Option<String>,
    /// Members whose confirmation a commit waits for.
    pub sync_standbys: Vec<String>,
    /// Dynamic configuration in force.
    pub config: Option<Value>,
    /// Name and resourceVersion of the object that holds it.
    pub config_object: Option<(String, String)>,
    /// PostgreSQL's system identifier is set: the group was initialised at some time.
    pub initialised: bool,
}

/// One Secret of a name of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSeen {
    /// Formation it belongs to by its label; `None` if it isn't ours at all.
    pub formation: Option<String>,
    /// When the certificate in it ends, of the Secret that holds one.
    pub not_after: Option<Timestamp>,
}

/// One migrator Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSeen {
    /// Name and uid.
    pub named: Named,
    /// Intent it carries out.
    pub intent_id: String,
    /// Epoch of that intent.
    pub epoch: i64,
    /// How it stands.
    pub state: JobState,
}

/// How a Job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Not finished.
    Running,
    /// Done.
    Succeeded,
    /// Given up.
    Failed {
        /// When.
        at: Timestamp,
        /// Last words of its pod.
        message: String,
    },
}

/// What the canary last saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseSeen {
    /// When a canary write through the pooler last committed.
    pub committed_at: Option<Timestamp>,
    /// What went wrong with the last one, if it did.
    pub canary_error: Option<String>,
    /// State of the schema when last read.
    pub schema: Option<SchemaSeen>,
    /// Shards of one co-location group by worker group; empty without Citus.
    pub shards: BTreeMap<i32, i64>,
}

/// State of the schema in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaSeen {
    /// Version reached.
    pub version: i32,
    /// A migration stopped half-way.
    pub dirty: bool,
    /// Where and why it stopped.
    pub detail: String,
}
