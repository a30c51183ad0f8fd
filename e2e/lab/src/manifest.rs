//! Manifests with a few placeholders, applied by the server.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::discovery::ApiResource;
use kube::core::gvk::GroupVersionKind;
use kube::{Api, Client};
use serde::Deserialize;

/// Field manager of everything that the lab applies.
pub const FIELD_MANAGER: &str = "lyceum-lab";

/// Replaces each `${NAME}`.
///
/// # Errors
/// When the text still has a placeholder afterwards.
pub fn render(text: &str, values: &[(&str, &str)]) -> Result<String> {
    let rendered = values
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value));
    match rendered.find("${") {
        Some(at) => {
            let left: String = rendered.chars().skip(at).take(30).collect();
            bail!("a manifest has a placeholder without a value: {left}")
        }
        None => Ok(rendered),
    }
}

/// The objects of a text with one or more YAML documents.
///
/// # Errors
/// When a document is no Kubernetes object.
pub fn parse(text: &str) -> Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = serde_yaml::Value::deserialize(document).context("a manifest is no YAML")?;
        if value.is_null() {
            continue;
        }
        objects.push(serde_yaml::from_value(value).context("a manifest is no Kubernetes object")?);
    }
    Ok(objects)
}

/// Applies objects in their order, each tried again for `patience`: a namespace that is being made, or a kind
/// that is being established, is a matter of seconds.
///
/// # Errors
/// When the API server refuses an object for longer than that.
pub async fn apply(client: &Client, objects: &[DynamicObject], patience: Duration) -> Result<()> {
    let began = Instant::now();
    for object in objects {
        let name = object.metadata.name.clone().unwrap_or_default();
        let types = object.types.clone().unwrap_or_default();
        let what = format!("{} {name}", types.kind);
        let kind =
            GroupVersionKind::try_from(&types).with_context(|| format!("{what} has no valid apiVersion"))?;
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let how = PatchParams::apply(FIELD_MANAGER).force();
        while let Err(error) = api.patch(&name, &how, &Patch::Apply(object)).await {
            if began.elapsed() > patience {
                return Err(error).with_context(|| format!("{what} cannot be applied"));
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_placeholder_is_replaced_and_a_forgotten_one_is_an_error() {
        assert_eq!(render("image: ${IMAGE}", &[("IMAGE", "x:1")]).unwrap(), "image: x:1");
        let error = render("a: ${A}\nb: ${REPLICAS}", &[("A", "1")]).unwrap_err();
        assert!(error.to_string().contains("${REPLICAS}"), "{error}");
    }

    #[test]
    fn documents_are_objects_and_empty_ones_are_skipped() {
        let objects =
            parse("# note\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n").unwrap();
        assert_eq!(objects.len(), 1);
        assert_eq!(objects[0].metadata.name.as_deref(), Some("a"));
    }
}
