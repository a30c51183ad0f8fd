//! From text to objects of ours, and what surrounds a spec: apiVersion, kind, metadata.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde_json::Value;

use super::structural::{Fault, check, prune_nulls, unknown_fields};
use super::{Finding, kind, yaml};

/// An object of ours.
pub(super) struct Document {
    /// Which document of the text, from 1.
    pub(super) index: usize,
    /// The object as JSON.
    pub(super) value: Value,
}

impl Document {
    /// Kind and name, as far as known.
    pub(super) fn object(&self) -> String {
        let kind = self.value.get("kind").and_then(Value::as_str).unwrap_or_default();
        let name =
            self.value.pointer("/metadata/name").or_else(|| self.value.pointer("/metadata/generateName"));
        format!("{kind} {}", name.and_then(Value::as_str).unwrap_or_default()).trim().to_owned()
    }

    /// What is wrong around the spec.
    pub(super) fn envelope_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (field, expected) in [("apiVersion", &kind().api_version), ("kind", &kind().kind)] {
            let found = self.value.get(field).and_then(Value::as_str).unwrap_or_default();
            if found != expected {
                faults.push(Fault {
                    path: field.into(),
                    message: format!("{field} must be {expected}, not '{found}'"),
                    blocks_rules: true,
                });
            }
        }
        let mut metadata = self.value.get("metadata").cloned().unwrap_or_default();
        let schema = metadata_schema();
        unknown_fields(&schema, &metadata, "metadata", &mut faults);
        prune_nulls(&schema, &mut metadata);
        if !metadata.is_null() {
            check(&schema, &metadata, "metadata", &mut faults);
            names(&metadata, &mut faults);
        }
        let text =
            |field: &str| metadata.get(field).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        if !text("name") && !text("generateName") {
            faults.push(Fault {
                path: "metadata.name".into(),
                message: "metadata.name is required: add it".into(),
                blocks_rules: true,
            });
        }
        faults
    }
}

/// A text's documents of our group. Documents of other groups are left out.
pub(super) fn parse(text: &str) -> Result<Vec<Document>, Box<Finding>> {
    let values = yaml::documents(text).map_err(|error| {
        Box::new(Finding {
            document: 1,
            object: String::new(),
            path: String::new(),
            message: format!("not readable as YAML: {error}"),
            rule: None,
        })
    })?;
    let mut documents = Vec::new();
    for (index, value) in values.into_iter().enumerate() {
        collect(index + 1, value, &mut documents);
    }
    Ok(documents)
}

fn collect(index: usize, value: Value, documents: &mut Vec<Document>) {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    if text("apiVersion") == "v1" && text("kind") == "List" {
        let items = value.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        items.into_iter().for_each(|item| collect(index, item, documents));
        return;
    }
    let group = kind().api_version.split('/').next().unwrap_or_default();
    if text("apiVersion").split('/').next() == Some(group) || text("kind") == kind().kind {
        documents.push(Document { index, value });
    }
}

/// A generated name ends in five random characters; rules see the name with them.
pub(super) fn name_as_generated(value: &mut Value) {
    let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if metadata.get("name").and_then(Value::as_str).is_some_and(|name| !name.is_empty()) {
        return;
    }
    if let Some(prefix) = metadata.get("generateName").and_then(Value::as_str) {
        // The API server keeps the first 58 characters.
        let prefix: String = prefix.chars().take(58).collect();
        metadata.insert("name".into(), format!("{prefix}xxxxx").into());
    }
}

/// Names of labels and annotations, and values of labels.
fn names(metadata: &Value, faults: &mut Vec<Fault>) {
    let part = |text: &str| {
        let edge = |c: char| c.is_ascii_alphanumeric();
        text.len() <= 63
            && text.starts_with(edge)
            && text.ends_with(edge)
            && text.chars().all(|c| edge(c) || "-_.".contains(c))
    };
    let prefix = |text: &str| {
        let label = |label: &str| {
            let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            label.starts_with(edge) && label.ends_with(edge) && label.chars().all(|c| edge(c) || c == '-')
        };
        text.len() <= 253 && text.split('.').all(label)
    };
    for field in ["labels", "annotations"] {
        for (key, value) in metadata.get(field).and_then(Value::as_object).into_iter().flatten() {
            let known = match key.split_once('/') {
                Some((domain, name)) => prefix(domain) && part(name),
                None => part(key),
            };
            let value = value.as_str().unwrap_or_default();
            if !known {
                faults.push(Fault {
                    path: format!("metadata.{field}"),
                    message: format!(
                        "metadata.{field} has the key '{key}', which must be [domain/]name of at most 63 letters, \
                         digits, '-', '_' and '.'"
                    ),
                    blocks_rules: false,
                });
            }
            if field == "labels" && !value.is_empty() && !part(value) {
                faults.push(Fault {
                    path: "metadata.labels".into(),
                    message: format!(
                        "metadata.labels has the value '{value}', which must be at most 63 letters, digits, '-', '_' \
                         and '.'"
                    ),
                    blocks_rules: false,
                });
            }
        }
    }
}

fn metadata_schema() -> Value {
    let mut generator = schemars::generate::SchemaSettings::openapi3()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    ObjectMeta::json_schema(&mut generator).to_value()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use crate::validate::check_yaml;

    const GOOD: &str = "apiVersion: lyceum.dev/v1alpha1
kind: CourseShard
metadata: {name: school}
spec:
  postgres: {major: 17}
  coordinator: {storage: {size: 1Gi}}
  workers: {count: 0}
";

    fn messages(text: &str) -> Vec<String> {
        check_yaml(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn other_kinds_beside_ours_are_passed_over() {
        let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: lyceum}\n";
        assert_eq!(messages(&format!("{namespace}---\n{GOOD}")), Vec::<String>::new());
        assert_eq!(
            messages(namespace),
            [
                "document 1: no document is of a kind of lyceum: write apiVersion: lyceum.dev/v1alpha1 and kind: \
              CourseShard"
            ]
        );
    }

    #[test]
    fn a_misspelt_group_or_kind_is_found() {
        assert_eq!(
            messages(&GOOD.replace("lyceum.dev", "lyceum.deb")),
            [
                "document 1 (CourseShard school): apiVersion must be lyceum.dev/v1alpha1, not 'lyceum.deb/v1alpha1'"
            ]
        );
        assert_eq!(
            messages(&GOOD.replace("CourseShard", "CourseShards")),
            ["document 1 (CourseShards school): kind must be CourseShard, not 'CourseShards'"]
        );
    }

    #[test]
    fn a_key_given_twice_is_not_readable() {
        let twice = GOOD.replace("workers: {count: 0}", "workers: {count: 0}\n  workers: {count: 1}");
        let messages = messages(&twice);
        assert!(
            messages[0].contains("not readable as YAML") && messages[0].contains("workers"),
            "{messages:?}"
        );
    }

    #[test]
    fn objects_in_a_list_are_checked_each() {
        let item = GOOD.replace("count: 0", "count: 99").replace('\n', "\n  ");
        let list = format!("apiVersion: v1\nkind: List\nitems:\n- {item}");
        let messages = messages(&list);
        assert!(messages[0].contains("spec.workers.count must be at most 48, not 99"), "{messages:?}");
    }

    #[test]
    fn a_generated_name_counts_with_its_suffix() {
        let fits = GOOD.replace("name: school", "generateName: school-");
        assert_eq!(messages(&fits), Vec::<String>::new());
        let long = GOOD.replace("name: school", &format!("generateName: {}-", "a".repeat(25)));
        assert!(messages(&long)[0].contains("metadata.name must have at most 30"), "{:?}", messages(&long));
    }

    #[test]
    fn what_an_api_server_adds_is_no_fault() {
        let read_back = "{name: school, namespace: lyceum, uid: 6c1e, resourceVersion: '7', generation: 1,
            creationTimestamp: 2026-11-25T10:00:00Z, finalizers: [lyceum.dev/courseshard],
            managedFields: [{manager: kubectl, operation: Apply, apiVersion: lyceum.dev/v1alpha1,
                time: 2026-11-25T10:00:00Z, fieldsType: FieldsV1, fieldsV1: {'f:spec': {'f:workers': {}}}}]}";
        assert_eq!(messages(&GOOD.replace("{name: school}", read_back)), Vec::<String>::new());
    }

    #[test]
    fn null_means_absent() {
        let null = GOOD.replace("{major: 17}", "{major: 17, citus: null}");
        assert_eq!(messages(&null), Vec::<String>::new());
    }
}
