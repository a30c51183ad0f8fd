//! What the host says about reaching package servers: proxies, certificates, indexes. A build gets it as secret
//! mounts, so none of it stays in an image.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command;

/// Where a Containerfile finds a secret, by the identifiers below.
const MOUNT: &str = "/run/secrets";

/// Settings of apt that say how to reach servers. All else of a host's configuration is the host's.
const APT_KEYS: [&str; 8] = [
    "Acquire::http::Proxy",
    "Acquire::https::Proxy",
    "Acquire::http::Timeout",
    "Acquire::https::Timeout",
    "Acquire::Retries",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
    "Acquire::ForceIPv4",
];

/// Settings of pip that say how to reach indexes. Paths of the host mean nothing in a build.
const PIP_KEYS: [&str; 7] =
    ["index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries", "no-index"];

/// The secrets of a build.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets {
    by_id: BTreeMap<&'static str, PathBuf>,
    /// apt's proxy for http, which debootstrap takes from its environment.
    pub(crate) http_proxy: Option<String>,
}

impl Secrets {
    /// Collects what this host has into files of a private directory.
    pub(crate) async fn of_host(directory: &Path) -> Result<Self> {
        let mut secrets = Self::default();
        let pip = pip_settings();
        if let Some(bundle) = certificates(pip.get("cert").map(String::as_str)) {
            secrets.by_id.insert("ca_bundle", bundle);
        }
        let dump = command::run("apt-config", &["dump"]).await?;
        let apt = apt_configuration(&dump, secrets.by_id.contains_key("ca_bundle"));
        secrets.http_proxy = apt_value(&dump, "Acquire::http::Proxy").map(str::to_owned);
        if !apt.is_empty() {
            secrets.by_id.insert("apt_conf", write(directory, "apt.conf", &apt)?);
        }
        let pip = pip_configuration(&pip);
        if !pip.is_empty() {
            secrets.by_id.insert("pip_conf", write(directory, "pip.conf", &pip)?);
        }
        Ok(secrets)
    }

    /// The arguments of `buildah build`.
    pub(crate) fn arguments(&self) -> Vec<String> {
        self.by_id.iter().map(|(id, path)| format!("--secret=id={id},src={}", path.display())).collect()
    }
}

fn write(directory: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    // An index address may carry a password.
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// A value of `apt-config dump`, which writes `Key "value";`.
fn apt_value<'a>(dump: &'a str, key: &str) -> Option<&'a str> {
    dump.lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| name.eq_ignore_ascii_case(key))
        .filter_map(|(_, value)| value.strip_prefix('"')?.strip_suffix("\";"))
        .rfind(|value| !value.is_empty())
}

fn apt_configuration(dump: &str, with_certificates: bool) -> String {
    let settings = APT_KEYS
        .iter()
        .filter_map(|key| apt_value(dump, key).map(|value| format!("{key} \"{value}\";\n")))
        .collect::<String>();
    if with_certificates {
        format!("{settings}Acquire::https::CAInfo \"{MOUNT}/ca_bundle\";\n")
    } else {
        settings
    }
}

/// `[global]` of pip's configuration files in the order in which later ones win, then its environment.
fn pip_settings() -> BTreeMap<String, String> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let own = std::env::var_os("PIP_CONFIG_FILE").map(PathBuf::from);
    let files = [
        Some(PathBuf::from("/etc/pip.conf")),
        Some(home.join(".pip/pip.conf")),
        Some(home.join(".config/pip/pip.conf")),
        own,
    ];
    let mut settings = BTreeMap::new();
    for text in files.into_iter().flatten().filter_map(|path| fs::read_to_string(path).ok()) {
        settings.extend(pip_global(&text));
    }
    for key in PIP_KEYS.into_iter().chain(["cert"]) {
        let variable = match key {
            "timeout" => "PIP_DEFAULT_TIMEOUT".to_owned(),
            _ => format!("PIP_{}", key.to_ascii_uppercase().replace('-', "_")),
        };
        if let Ok(value) = std::env::var(variable) {
            settings.insert(key.to_owned(), value);
        }
    }
    settings
}

fn pip_global(text: &str) -> Vec<(String, String)> {
    let mut section = "";
    let mut settings = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if section == "global"
            && !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once('=')
        {
            settings.push((key.trim().replace('_', "-"), value.trim().to_owned()));
        }
    }
    settings
}

fn pip_configuration(settings: &BTreeMap<String, String>) -> String {
    let lines: String = PIP_KEYS
        .iter()
        .filter_map(|key| {
            settings.get(*key).filter(|value| !value.is_empty()).map(|value| format!("{key} = {value}\n"))
        })
        .collect();
    if lines.is_empty() { lines } else { format!("[global]\n{lines}") }
}

/// The certificates that this host trusts beyond the usual, if it says so.
fn certificates(pip: Option<&str>) -> Option<PathBuf> {
    let variables = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
    pip.map(PathBuf::from)
        .into_iter()
        .chain(variables.iter().filter_map(|name| std::env::var_os(name).map(PathBuf::from)))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    const DUMP: &str = "APT \"\";\nAPT::Install-Recommends \"0\";\nAcquire::http::Proxy \"http://p.test:3128\";\n\
                        Acquire::Check-Date \"false\";\nAcquire::https::Proxy \"\";\n";

    #[test]
    fn of_apt_a_build_gets_what_reaches_servers_and_nothing_else() {
        assert_eq!(
            apt_configuration(DUMP, false),
            "Acquire::http::Proxy \"http://p.test:3128\";\nAcquire::Check-Date \"false\";\n"
        );
        assert_eq!(apt_configuration("APT::Architecture \"amd64\";\n", false), "");
    }

    #[test]
    fn certificates_are_named_by_where_the_build_finds_them() {
        assert_eq!(apt_configuration("", true), "Acquire::https::CAInfo \"/run/secrets/ca_bundle\";\n");
    }

    #[test]
    fn of_pip_a_build_gets_indexes_but_no_paths_of_the_host() {
        let settings: BTreeMap<_, _> = pip_global(
            "[global]\n# mirror\nindex_url = https://i.test/simple\ncert = /etc/ca.pem\nfind-links = /opt\n\
             [install]\ntimeout = 3\n",
        )
        .into_iter()
        .collect();
        assert_eq!(settings["cert"], "/etc/ca.pem");
        assert_eq!(pip_configuration(&settings), "[global]\nindex-url = https://i.test/simple\n");
        assert_eq!(pip_configuration(&BTreeMap::new()), "");
    }
}
