//! How Rust types become a structural schema.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, transform::transform_subschemas};
use serde_json::Value;

use crate::course_shard::limits::{
    QUANTITY_MAX_LENGTH, SCHEDULING_ITEMS_MAX, SETTING_VALUE_MAX_LENGTH, SETTINGS_MAX,
};

/// Makes "absent" the only way to leave a field out.
///
/// schemars says `Option<T>` with `nullable: true`, which keeps a `null` in the stored
/// object where every rule would have to tell it from an absent field. Without it the
/// API server prunes the `null`, and so does [`crate::validate`].
pub(crate) fn absent_not_null(schema: &mut Schema) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for property in properties.values_mut() {
        if let Some(types) = property.get_mut("type").and_then(Value::as_array_mut) {
            types.retain(|t| t != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                if let Some(property) = property.as_object_mut() {
                    property.insert("type".into(), only);
                }
            }
        }
        if let Some(choices) = property.get_mut("anyOf").and_then(Value::as_array_mut) {
            choices.retain(|choice| choice.get("type").is_none_or(|t| t != "null"));
            if let [only] = choices.as_slice() {
                let only = only.clone();
                if let (Some(property), Value::Object(only)) = (property.as_object_mut(), only) {
                    property.remove("anyOf");
                    for (key, value) in only {
                        // What the field says about itself goes before what its type says.
                        property.entry(key).or_insert(value);
                    }
                }
            }
        }
    }
}

/// Schema of a type out of the Kubernetes API, without its prose (people know it from
/// pods; three copies of Affinity's would double the size of the CRD) and with
/// quantities that are checked here instead of failing in a StatefulSet.
pub(crate) fn embedded<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = T::json_schema(generator);
    tidy_embedded(&mut schema);
    schema
}

/// A bounded list of [`embedded`] items.
pub(crate) fn embedded_list<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": embedded::<T>(generator),
        "maxItems": SCHEDULING_ITEMS_MAX,
    })
}

/// Conditions, without the prose of their fields.
pub(crate) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": embedded::<Condition>(generator) })
}

/// PostgreSQL settings: bounded in number and length; their names are checked by a rule.
pub(crate) fn settings(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": { "type": "string", "maxLength": SETTING_VALUE_MAX_LENGTH },
        "maxProperties": SETTINGS_MAX,
    })
}

fn tidy_embedded(schema: &mut Schema) {
    schema.remove("description");
    // Nothing embedded has the other type of this mark, IntOrString.
    let is_quantity = schema.get("x-kubernetes-int-or-string").is_some_and(|value| value == true);
    if is_quantity {
        schema.insert("pattern".into(), QUANTITY_PATTERN.into());
        schema.insert("minimum".into(), 0.into());
        schema.insert("maxLength".into(), QUANTITY_MAX_LENGTH.into());
    }
    transform_subschemas(&mut tidy_embedded, schema);
}

/// `k8s.io/apimachinery` resource.Quantity as controller-gen writes it, without a sign:
/// a pod asks for no negative amounts.
const QUANTITY_PATTERN: &str = r"^(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";
