//! `kubectl lyceum check`: the API server's verdict, offline.

use std::io::Read;
use std::process::ExitCode;

use lyceum_crds::validate::check_yaml;

/// Prints a line for each finding; fails if there is one or a file can't be read.
pub(crate) fn run(files: &[String]) -> ExitCode {
    let mut bad = 0_usize;
    for file in files {
        match read(file) {
            Ok(text) => {
                let lines = report(file, &text);
                bad += lines.len();
                lines.iter().for_each(|line| println!("{line}"));
            }
            Err(error) => {
                bad += 1;
                println!("{file}: can't be read: {error}");
            }
        }
    }
    if bad > 0 {
        eprintln!("{bad} {}", if bad == 1 { "finding" } else { "findings" });
        return ExitCode::FAILURE;
    }
    println!("{} {} fine", files.len(), if files.len() == 1 { "file is" } else { "files are" });
    ExitCode::SUCCESS
}

fn read(file: &str) -> std::io::Result<String> {
    if file != "-" {
        return std::fs::read_to_string(file);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

/// A line for each finding in a text.
fn report(file: &str, text: &str) -> Vec<String> {
    let file = if file == "-" { "standard input" } else { file };
    check_yaml(text).iter().map(|finding| format!("{file}: {finding}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: &str = "
apiVersion: lyceum.dev/v1alpha1
kind: CourseShard
metadata: {name: school}
spec:
  postgres: {major: 17}
  coordinator: {instances: 0, storage: {size: 1Gi}, paralel: 1}
  workers: {count: 0}
";

    #[test]
    fn each_finding_names_file_document_object_and_field() {
        assert_eq!(
            report("school.yaml", BAD),
            [
                "school.yaml: document 1 (CourseShard school): spec.coordinator.paralel is an unknown field: remove it",
                "school.yaml: document 1 (CourseShard school): spec.coordinator.instances must be at least 1: it \
                 counts the primary",
            ]
        );
    }

    #[test]
    fn a_good_manifest_has_no_findings() {
        let good = BAD.replace("instances: 0, ", "").replace(", paralel: 1", "");
        assert_eq!(report("-", &good), Vec::<String>::new());
    }
}
