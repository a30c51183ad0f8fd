//! The API server's verdict without an API server: for `kubectl lyceum check`, for
//! GitOps pipelines, and for the operator, which asks again before it acts.
//!
//! The schema and the rules are those of the CRD itself. A corpus of accepted and
//! rejected objects (`crds/tests/corpus`) is held against this module by unit tests
//! and against a real API server by the scenarios.

mod documents;
mod structural;
mod yaml;

use std::fmt;
use std::sync::OnceLock;

use kube::CustomResourceExt;
use kube::core::cel::{CompiledSchema, Validator, apply_defaults, compile_schema};
use serde_json::Value;

use crate::CourseShard;
use documents::{Document, parse};
use structural::{Fault, check as check_structure, prune_nulls, unknown_fields};

/// Something that the API server would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which document of the text, from 1.
    pub document: usize,
    /// Kind and name of the object, such as `CourseShard school`, as far as known.
    pub object: String,
    /// Path of the field; empty if the object as a whole is meant.
    pub path: String,
    /// A sentence that names the field and says what to do.
    pub message: String,
    /// The CEL rule that failed, if one did.
    pub rule: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.object.as_str() {
            "" => write!(f, "document {}: {}", self.document, self.message),
            object => write!(f, "document {} ({object}): {}", self.document, self.message),
        }
    }
}

/// Checks every document of a YAML (or JSON) text as if it were created with strict
/// field validation, kubectl's default.
///
/// Documents of other API groups are passed over; a text without any of ours is a
/// finding, so that a misspelt `apiVersion` can't pass as checked.
pub fn check_yaml(text: &str) -> Vec<Finding> {
    let documents = match parse(text) {
        Ok(documents) => documents,
        Err(finding) => return vec![*finding],
    };
    if documents.is_empty() {
        return vec![Finding {
            document: 1,
            object: String::new(),
            path: "apiVersion".into(),
            message: format!(
                "no document is of a kind of lyceum: write apiVersion: {} and kind: {}",
                kind().api_version,
                kind().kind
            ),
            rule: None,
        }];
    }
    documents.iter().flat_map(|document| check_document(document, None, Through::Object)).collect()
}

/// Checks the one object in `new` as an update of the one in `old`, which the API
/// server is taken to have accepted.
pub fn check_update(old: &str, new: &str) -> Vec<Finding> {
    check_change(old, new, Through::Object)
}

/// The same for an update through the status subresource.
pub fn check_status_update(old: &str, new: &str) -> Vec<Finding> {
    check_change(old, new, Through::Status)
}

/// Which of an object's addresses a write goes through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    /// The object itself: status in it is dropped.
    Object,
    /// Its status subresource.
    Status,
}

fn check_change(old: &str, new: &str, through: Through) -> Vec<Finding> {
    let one = |text: &str, which: &str| -> Result<Document, Box<Finding>> {
        let mut documents = parse(text)?;
        match (documents.pop(), documents.is_empty()) {
            (Some(document), true) => Ok(document),
            _ => Err(Box::new(Finding {
                document: 1,
                object: String::new(),
                path: String::new(),
                message: format!("the {which} text must hold exactly one CourseShard"),
                rule: None,
            })),
        }
    };
    match (one(old, "old"), one(new, "new")) {
        (Ok(old), Ok(new)) => check_document(&new, Some(&old), through),
        (Err(finding), _) | (_, Err(finding)) => vec![*finding],
    }
}

/// Checks an object that was read from the API server, by schema and creation rules:
/// it may have been stored before a rule was there.
pub fn check(shard: &CourseShard) -> Vec<Finding> {
    match serde_json::to_value(shard) {
        Ok(value) => check_document(&Document { index: 1, value }, None, Through::Object),
        Err(error) => vec![Finding {
            document: 1,
            object: String::new(),
            path: String::new(),
            message: format!("the object can't be read: {error}"),
            rule: None,
        }],
    }
}

/// A kind of ours and the schema of its CRD.
struct Kind {
    api_version: String,
    kind: String,
    schema: Value,
}

fn kind() -> &'static Kind {
    static KIND: OnceLock<Kind> = OnceLock::new();
    KIND.get_or_init(|| {
        let resource = CourseShard::api_resource();
        let schema = CourseShard::crd()
            .spec
            .versions
            .into_iter()
            .find_map(|version| version.schema?.open_api_v3_schema)
            .and_then(|schema| serde_json::to_value(schema).ok())
            .unwrap_or_default();
        Kind { api_version: resource.api_version, kind: resource.kind, schema }
    })
}

thread_local! {
    // Compiled rules are neither Send nor cheap.
    static RULES: (Validator, CompiledSchema) = (Validator::new(), compile_schema(&kind().schema));
}

fn check_document(document: &Document, old: Option<&Document>, through: Through) -> Vec<Finding> {
    let schema = &kind().schema;
    let mut faults = document.envelope_faults();
    if faults.iter().any(|fault| fault.blocks_rules) {
        return faults.into_iter().map(|fault| finding(document, fault, None)).collect();
    }
    let mut value = document.value.clone();
    unknown_fields(schema, &value_without_envelope(&value), "", &mut faults);
    prepare(schema, &mut value, through);
    check_structure(schema, &value, "", &mut faults);
    let blocked = faults.iter().any(|fault| fault.blocks_rules);
    let mut findings: Vec<Finding> = faults.into_iter().map(|fault| finding(document, fault, None)).collect();
    if !blocked {
        let old = old.map(|old| {
            let mut old = old.value.clone();
            prepare(schema, &mut old, through);
            old
        });
        findings.extend(failed_rules(document, &value, old.as_ref()));
    }
    findings
}

fn failed_rules(document: &Document, value: &Value, old: Option<&Value>) -> Vec<Finding> {
    let verdict = RULES.with(|(validator, rules)| validator.validate_compiled(rules, value, old));
    let failures = verdict.err().map(|errors| errors.into_vec()).unwrap_or_default();
    failures
        .into_iter()
        .map(|failure| {
            let fault = Fault { path: failure.field_path, message: failure.message, blocks_rules: false };
            finding(document, fault, Some(failure.rule))
        })
        .collect()
}

/// What the API server does to an object before it validates: a name is generated,
/// status is dropped, nulls go, defaults come.
fn prepare(schema: &Value, value: &mut Value, through: Through) {
    documents::name_as_generated(value);
    if through == Through::Object
        && let Some(fields) = value.as_object_mut()
    {
        fields.remove("status");
    }
    prune_nulls(schema, value);
    *value = apply_defaults(schema, value);
}

/// Metadata is not in a CRD's schema; [`Document::envelope_faults`] looks at it.
fn value_without_envelope(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(fields) = value.as_object_mut() {
        for field in ["apiVersion", "kind", "metadata"] {
            fields.remove(field);
        }
    }
    value
}

fn finding(document: &Document, fault: Fault, rule: Option<String>) -> Finding {
    Finding {
        document: document.index,
        object: document.object(),
        path: fault.path,
        message: fault.message,
        rule,
    }
}
