//! The structural part of a CRD's schema, as the API server checks it: unknown fields,
//! nulls, types and bounds.

use regex::Regex;
use serde_json::{Map, Value};

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Path of the field.
    pub(super) path: String,
    /// A sentence that names the field and what to do.
    pub(super) message: String,
    /// The API server evaluates no rule on an object with this fault.
    pub(super) blocks_rules: bool,
}

/// Removes `null` fields, as the API server does before it applies defaults: no field
/// of ours is nullable, so `null` means absent.
pub(super) fn prune_nulls(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            for (name, field) in fields {
                if let Some(schema) = field_schema(schema, name) {
                    prune_nulls(schema, field);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| prune_nulls(schema, item));
            }
        }
        _ => {}
    }
}

/// Fields that the schema does not know.
pub(super) fn unknown_fields(schema: &Value, value: &Value, path: &str, faults: &mut Vec<Fault>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let path = join(path, name);
                match field_schema(schema, name) {
                    Some(schema) => unknown_fields(schema, field, &path, faults),
                    None if schema.get("properties").is_some() => faults.push(Fault {
                        message: unknown_sentence(schema, &path, name),
                        path,
                        blocks_rules: false,
                    }),
                    // Free-form (managedFields), or of another type, which is a fault of its own.
                    None => {}
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    unknown_fields(schema, item, &format!("{path}[{index}]"), faults);
                }
            }
        }
        _ => {}
    }
}

/// Types and bounds. Every keyword that stands in our CRDs is understood (a test asserts it).
pub(super) fn check(schema: &Value, value: &Value, path: &str, faults: &mut Vec<Fault>) {
    let Some(schema) = schema.as_object() else { return };
    let mut fault = |message: String, blocks_rules: bool| {
        faults.push(Fault { path: path.to_owned(), message: format!("{path} {message}"), blocks_rules });
    };
    if let Some(expected) = wrong_type(schema, value) {
        fault(format!("must be {expected}, not {}", type_of(value)), true);
        return;
    }
    if let Some(Value::Array(choices)) = schema.get("enum")
        && !choices.contains(value)
    {
        let choices: Vec<String> = choices.iter().map(plain).collect();
        fault(format!("must be one of {}, not {}", choices.join(", "), plain(value)), true);
    }
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            if let Some(least) = limit(schema, "minimum").filter(|least| number < *least) {
                fault(format!("must be at least {least}, not {number}"), false);
            }
            if let Some(most) = limit(schema, "maximum").filter(|most| number > *most) {
                fault(format!("must be at most {most}, not {number}"), false);
            }
        }
        Value::String(text) => {
            let length = text.chars().count() as f64;
            if let Some(least) = limit(schema, "minLength").filter(|least| length < *least) {
                fault(format!("must have at least {least} characters"), false);
            }
            if let Some(most) = limit(schema, "maxLength").filter(|most| length > *most) {
                fault(format!("must have at most {most} characters, not {length}"), true);
            }
            if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
                && !Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
            {
                fault(format!("is '{text}' but must match {pattern}"), false);
            }
        }
        Value::Array(items) => {
            if let Some(most) = limit(schema, "maxItems").filter(|most| items.len() as f64 > *most) {
                fault(format!("must have at most {most} items, not {}", items.len()), true);
            }
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    check(schema, item, &format!("{path}[{index}]"), faults);
                }
            }
        }
        Value::Object(fields) => {
            if let Some(most) = limit(schema, "maxProperties").filter(|most| fields.len() as f64 > *most) {
                fault(format!("must have at most {most} entries, not {}", fields.len()), true);
            }
            check_fields(schema, fields, path, faults);
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn check_fields(
    schema: &Map<String, Value>,
    fields: &Map<String, Value>,
    path: &str,
    faults: &mut Vec<Fault>,
) {
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        let Some(name) = name.as_str().filter(|name| !fields.contains_key(*name)) else { continue };
        let path = join(path, name);
        faults.push(Fault { message: format!("{path} is required: add it"), path, blocks_rules: true });
    }
    for (name, field) in fields {
        let schema = schema
            .get("properties")
            .and_then(|properties| properties.get(name))
            .or_else(|| schema.get("additionalProperties"));
        if let Some(schema) = schema {
            check(schema, field, &join(path, name), faults);
        }
    }
}

fn wrong_type(schema: &Map<String, Value>, value: &Value) -> Option<&'static str> {
    if schema.get("x-kubernetes-int-or-string").is_some_and(|mark| mark == true) {
        return (!value.is_string() && !value.is_i64() && !value.is_u64())
            .then_some("an integer or a string");
    }
    match schema.get("type").and_then(Value::as_str)? {
        "object" => (!value.is_object()).then_some("an object"),
        "array" => (!value.is_array()).then_some("a list"),
        "string" => (!value.is_string()).then_some("a string (in quotes)"),
        "boolean" => (!value.is_boolean()).then_some("true or false"),
        "integer" => (!value.is_i64() && !value.is_u64()).then_some("an integer (without quotes)"),
        _ => None,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn limit(schema: &Map<String, Value>, keyword: &str) -> Option<f64> {
    schema.get(keyword).and_then(Value::as_f64)
}

fn field_schema<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema
        .get("properties")
        .and_then(|properties| properties.get(name))
        .or_else(|| schema.get("additionalProperties").filter(|schema| schema.is_object()))
}

fn unknown_sentence(schema: &Value, path: &str, name: &str) -> String {
    let near = schema.get("properties").and_then(Value::as_object).and_then(|properties| {
        properties
            .keys()
            .map(|known| (distance(known, name), known))
            .filter(|(distance, _)| *distance <= 2)
            .min()
            .map(|(_, known)| known)
    });
    match near {
        Some(known) => format!("{path} is an unknown field: did you mean {known}?"),
        None => format!("{path} is an unknown field: remove it"),
    }
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((y, above), diagonal) in b.iter().zip(row.iter().skip(1)).zip(&row) {
            let left = next.last().copied().unwrap_or(0);
            next.push((left + 1).min(above + 1).min(diagonal + usize::from(x != *y)));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

pub(super) fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::collections::BTreeSet;

    use kube::CustomResourceExt;
    use serde_json::json;

    use super::*;

    /// Collects the keywords of a schema, without the names of fields.
    fn keywords(schema: &Value, into: &mut BTreeSet<String>) {
        for (keyword, value) in schema.as_object().unwrap() {
            into.insert(keyword.clone());
            match keyword.as_str() {
                "properties" => value.as_object().unwrap().values().for_each(|field| keywords(field, into)),
                "items" | "additionalProperties" => keywords(value, into),
                _ => {}
            }
        }
    }

    #[test]
    fn every_keyword_in_the_crd_is_understood() {
        let crd = serde_json::to_value(crate::CourseShard::crd()).unwrap();
        let mut schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        // The one nullable field is status itself, which nobody writes in a manifest.
        schema["properties"]["status"].as_object_mut().unwrap().remove("nullable").unwrap();
        let mut found = BTreeSet::new();
        keywords(&schema, &mut found);
        let understood = [
            "additionalProperties",
            "enum",
            "items",
            "maxItems",
            "maxLength",
            "maxProperties",
            "maximum",
            "minLength",
            "minimum",
            "pattern",
            "properties",
            "required",
            "type",
            "x-kubernetes-int-or-string",
            // By defaulting and by the rules.
            "default",
            "x-kubernetes-validations",
            // Say nothing about what is valid: bounds of format are within the bounds given beside it, and
            // list types matter to merging (their keys are checked in status only, which people don't write).
            "description",
            "title",
            "format",
            "x-kubernetes-list-type",
            "x-kubernetes-list-map-keys",
        ];
        let unknown: Vec<&String> =
            found.iter().filter(|keyword| !understood.contains(&keyword.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn a_misspelt_field_is_told_the_right_name() {
        let schema = json!({"type": "object", "properties": {"workers": {"type": "object"}}});
        let mut faults = Vec::new();
        unknown_fields(&schema, &json!({"worker": {}, "other": 1}), "spec", &mut faults);
        let messages: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "spec.other is an unknown field: remove it",
                "spec.worker is an unknown field: did you mean workers?"
            ]
        );
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("workers", "worker"), 1);
        assert_eq!(distance("size", "sise"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
