//! Holds [`lyceum_crds::validate`] against the corpus: objects with the verdict an API
//! server gives them. The scenarios put the same files before a real one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kube::CustomResourceExt;
use lyceum_crds::CourseShard;
use lyceum_crds::validate::{Finding, check_status_update, check_update, check_yaml};
use serde_json::Value;

struct Case {
    /// Path below the corpus, without `.yaml`.
    name: String,
    /// What a rejection must say; `None` for an accepted object.
    rejected: Option<String>,
    findings: Vec<Finding>,
}

fn cases() -> Vec<Case> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut cases = Vec::new();
    for kind in ["", "update", "status"] {
        for entry in fs::read_dir(corpus.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let name = path.strip_prefix(&corpus).unwrap().with_extension("").display().to_string();
            cases.push(case(name, kind, &fs::read_to_string(&path).unwrap()));
        }
    }
    cases
}

fn case(name: String, kind: &str, text: &str) -> Case {
    let verdict = text.lines().next().unwrap().strip_prefix("# expect: ").unwrap_or_else(|| panic!("{name}"));
    let rejected = match verdict {
        "accepted" => None,
        verdict => Some(verdict.strip_prefix("rejected: ").unwrap_or_else(|| panic!("{name}")).to_owned()),
    };
    let pair = || text.split_once("\n---\n").unwrap_or_else(|| panic!("{name} has one document"));
    let findings = match kind {
        "update" => check_update(pair().0, pair().1),
        "status" => check_status_update(pair().0, pair().1),
        _ => check_yaml(text),
    };
    Case { name, rejected, findings }
}

#[test]
fn every_verdict_is_as_expected() {
    let mut wrong = Vec::new();
    for Case { name, rejected, findings } in cases() {
        let said: Vec<String> = findings.iter().map(|finding| finding.message.clone()).collect();
        let right = match &rejected {
            None => said.is_empty(),
            Some(substring) => said.iter().any(|message| message.contains(substring)),
        };
        if !right {
            wrong.push(format!("{name}: expected {rejected:?}, found {said:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_old_object_of_an_update_is_itself_accepted() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/update");
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let findings = check_yaml(text.split_once("\n---\n").unwrap().0);
        assert!(findings.is_empty(), "{}: {findings:?}", path.display());
    }
}

/// Every rule in the CRD, with the path of the field it hangs on.
fn rules() -> BTreeSet<(String, String)> {
    fn walk(schema: &Value, path: &str, into: &mut BTreeSet<(String, String)>) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            into.insert((path.to_owned(), rule["rule"].as_str().unwrap().to_owned()));
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(field, &path, into);
        }
    }
    let crd = serde_json::to_value(CourseShard::crd()).unwrap();
    let mut rules = BTreeSet::new();
    walk(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", &mut rules);
    rules
}

#[test]
fn every_rule_rejects_an_object_of_the_corpus() {
    let hit: BTreeSet<(String, String)> = cases()
        .into_iter()
        .filter(|case| case.rejected.is_some())
        .flat_map(|case| case.findings)
        .filter_map(|finding| Some((finding.path, finding.rule?)))
        .collect();
    let rules = rules();
    assert!(!rules.is_empty());
    let missed: Vec<_> = rules.difference(&hit).collect();
    assert!(missed.is_empty(), "no object of the corpus breaks {missed:#?}");
}

#[test]
fn every_rejected_object_has_an_accepted_neighbour() {
    let topic = |name: &str, verdict: &str| name.split_once(verdict).map(|(topic, _)| topic.to_owned());
    let cases = cases();
    let accepted: BTreeSet<String> = cases.iter().filter_map(|case| topic(&case.name, ".accepted")).collect();
    for case in &cases {
        let expected = if case.rejected.is_some() { ".rejected" } else { ".accepted" };
        let topic = topic(&case.name, expected).unwrap_or_else(|| panic!("{} is named wrong", case.name));
        assert!(accepted.contains(&topic), "{} has no accepted neighbour", case.name);
    }
}

#[test]
fn every_message_is_one_sentence_that_starts_with_the_field() {
    for case in cases() {
        for Finding { message, .. } in &case.findings {
            let field = message.split(' ').next().unwrap();
            assert!(
                ["spec.", "metadata.", "status."].iter().any(|root| field.starts_with(root)),
                "{}: {message}",
                case.name
            );
            assert!(
                !message.contains('\n') && !message.trim_end_matches('.').contains(". "),
                "{}: {message}",
                case.name
            );
        }
    }
}
