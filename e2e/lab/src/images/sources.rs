//! The host's own package sources: where its Debian packages come from, the images' come from too.
//!
//! Both formats of apt are read, `sources.list` lines and deb822 stanzas (sources.list(5)), and mirror lists in
//! files, which Debian's cloud images use.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::catalog::Suite;

/// Where Debian's packages and its security updates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirrors {
    /// The archive.
    pub(crate) main: String,
    /// The security archive, if the host uses one.
    pub(crate) security: Option<String>,
}

impl Mirrors {
    /// Whether apt in the image needs certificates to reach them.
    pub(crate) fn need_certificates(&self) -> bool {
        [Some(&self.main), self.security.as_ref()].into_iter().flatten().any(|uri| uri.starts_with("https:"))
    }

    /// The `debian.sources` of an image of this suite.
    pub(crate) fn sources(&self, suite: Suite) -> String {
        let stanza = |uri: &str, suites: &str| {
            format!(
                "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\n\
                 Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
            )
        };
        let name = suite.as_str();
        if !suite.has_fixes_beside() {
            return stanza(&self.main, name);
        }
        let main = stanza(&self.main, &format!("{name} {name}-updates"));
        match &self.security {
            Some(security) => format!("{main}\n{}", stanza(security, &format!("{name}-security"))),
            None => main,
        }
    }
}

/// One source of packages, of either format.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: String,
}

/// Reads the mirrors that this host uses.
pub(crate) fn of_host() -> Result<Mirrors> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let mut sources = Vec::new();
    for path in source_files(Path::new("/etc/apt"))? {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => sources.extend(parse_stanzas(&text)),
            _ => sources.extend(text.lines().filter_map(parse_line)),
        }
    }
    choose(&sources, &codenames(&release), &|list| fs::read_to_string(list).ok())
}

fn source_files(apt: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> =
        Some(apt.join("sources.list")).into_iter().filter(|path| path.is_file()).collect();
    let parts = apt.join("sources.list.d");
    if parts.is_dir() {
        let entries = fs::read_dir(&parts).with_context(|| format!("cannot read {}", parts.display()))?;
        let mut more: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                path.extension().is_some_and(|extension| extension == "list" || extension == "sources")
            })
            .collect();
        more.sort();
        files.append(&mut more);
    }
    Ok(files)
}

/// The suites that mean this host's Debian, most telling first.
fn codenames(os_release: &str) -> Vec<String> {
    let named = os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned());
    let moving = ["stable", "testing", "unstable", "sid", "oldstable", "trixie", "bookworm"];
    named.into_iter().chain(moving.map(str::to_owned)).collect()
}

/// `deb [signed-by=…] URI SUITE COMPONENT…`
fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    let (uri, suite) = (words.next()?, words.next()?);
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    Some(Source {
        uris: vec![uri],
        suites: vec![suite],
        components: words.collect(),
        signed_by: signed_by.unwrap_or_default().to_owned(),
    })
}

/// Stanzas of `Field: value`, values going on in indented lines, divided by empty lines.
fn parse_stanzas(text: &str) -> Vec<Source> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut stanzas: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for line in lines {
        if line.trim().is_empty() {
            stanzas.push(Vec::new());
            continue;
        }
        let Some(stanza) = stanzas.last_mut() else { continue };
        if line.starts_with(char::is_whitespace) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((field, value)) = line.split_once(':') {
            stanza.push((field.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    stanzas.iter().filter_map(|stanza| source_of_stanza(stanza)).collect()
}

fn source_of_stanza(stanza: &[(String, String)]) -> Option<Source> {
    let value = |field: &str| stanza.iter().find(|(name, _)| name == field).map(|(_, value)| value.as_str());
    let words = |field: &str| -> Vec<String> {
        value(field).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let enabled = !value("enabled")
        .is_some_and(|value| matches!(value, "no" | "false" | "without" | "off" | "disable"));
    (enabled && words("types").iter().any(|kind| kind == "deb")).then(|| Source {
        uris: words("uris"),
        suites: words("suites"),
        components: words("components"),
        signed_by: value("signed-by").unwrap_or_default().to_owned(),
    })
}

/// Finds Debian among all sources. A vendor's repository may well call its suite as Debian does and its component
/// `main`, so what counts most is the key, then the archive's customary name.
fn choose(
    sources: &[Source],
    codenames: &[String],
    read: &dyn Fn(&str) -> Option<String>,
) -> Result<Mirrors> {
    let best = |is_suite: &dyn Fn(&str) -> bool, directories: &[&str]| -> Option<String> {
        let mut candidates: Vec<(usize, String)> = sources
            .iter()
            .filter(|source| source.components.iter().any(|component| component == "main"))
            .filter(|source| source.suites.iter().any(|suite| is_suite(suite)))
            .filter_map(|source| {
                let uri = source.uris.iter().find_map(|uri| reachable(uri, read))?;
                let last = uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                let doubt = usize::from(!source.signed_by.contains("debian-archive")) * 2
                    + usize::from(!directories.contains(&last));
                Some((doubt, uri.trim_end_matches('/').to_owned()))
            })
            // No key and no customary name: somebody else's repository.
            .filter(|(doubt, _)| *doubt < 3)
            .collect();
        // Stable, so that of equals the first in apt's own order wins.
        candidates.sort_by_key(|(doubt, _)| *doubt);
        candidates.into_iter().next().map(|(_, uri)| uri)
    };
    let is_release = |suite: &str| codenames.iter().any(|name| name == suite);
    let is_security = |suite: &str| suite.ends_with("-security") || suite.ends_with("/updates");
    match best(&is_release, &["debian"]) {
        Some(main) => Ok(Mirrors { main, security: best(&is_security, &["debian-security", "debian"]) }),
        None => bail!(
            "no Debian mirror in /etc/apt/sources.list and /etc/apt/sources.list.d: the images are made from the \
             host's own package sources, so add Debian's archive there"
        ),
    }
}

/// The address that debootstrap can fetch from; mirror lists in files are looked into.
fn reachable(uri: &str, read: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    if let Some(list) = uri.strip_prefix("mirror+file:") {
        let path = format!("/{}", list.trim_start_matches('/'));
        return read(&path)?
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .find(|word| !word.starts_with('#') && word.contains("://"))
            .map(str::to_owned);
    }
    let plain = uri.strip_prefix("mirror+").unwrap_or(uri);
    (plain == uri && (uri.starts_with("http://") || uri.starts_with("https://"))).then(|| uri.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    const RELEASE: &str = "ID=debian\nVERSION_CODENAME=bookworm\n";

    fn mirrors(lines: &str, stanzas: &str) -> Result<Mirrors> {
        let mut sources: Vec<Source> = lines.lines().filter_map(parse_line).collect();
        sources.extend(parse_stanzas(stanzas));
        choose(&sources, &codenames(RELEASE), &|path| {
            (path == "/etc/apt/mirrors/debian.list")
                .then(|| "# ours\nhttps://mirror.test/debian/ priority:1\n".into())
        })
    }

    #[test]
    fn stanzas_are_read_as_apt_reads_them() {
        let found = mirrors(
            "",
            "# comment\nTypes: deb deb-src\nURIs: http://a.test/debian\nSuites: bookworm\n bookworm-updates\n\
             Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
             Types: deb\nURIs: http://a.test/debian-security\nSuites: bookworm-security\nComponents: main\n",
        )
        .unwrap();
        assert_eq!(found.main, "http://a.test/debian");
        assert_eq!(found.security.as_deref(), Some("http://a.test/debian-security"));
    }

    #[test]
    fn lines_are_read_as_apt_reads_them() {
        let found = mirrors(
            "# deb http://off.test/debian bookworm main\n\
             deb-src http://src.test/debian bookworm main\n\
             deb [arch=amd64 signed-by=/k.gpg] http://b.test/debian/ bookworm main contrib # ours\n\
             deb http://s.test/debian-security bookworm-security main\n",
            "",
        )
        .unwrap();
        assert_eq!(found.main, "http://b.test/debian");
        assert_eq!(found.security.as_deref(), Some("http://s.test/debian-security"));
    }

    #[test]
    fn a_vendor_that_calls_its_suite_like_debian_is_not_debian() {
        let found = mirrors(
            "deb [signed-by=/k.gpg] https://apt.vendor.test bookworm main\n\
             deb https://tools.test/linux/debian bookworm stable\n\
             deb http://m.test/debian bookworm main\n",
            "",
        )
        .unwrap();
        assert_eq!(found.main, "http://m.test/debian");
        assert!(mirrors("deb https://apt.vendor.test bookworm main\n", "").is_err());
    }

    #[test]
    fn debians_key_tells_more_than_the_name_of_a_directory() {
        let keyed = "Types: deb\nURIs: http://cache.test/repo\nSuites: stable\nComponents: main\n\
                     Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
        assert_eq!(
            mirrors("deb http://m.test/debian bookworm main\n", keyed).unwrap().main,
            "http://cache.test/repo"
        );
    }

    #[test]
    fn a_disabled_stanza_does_not_count() {
        let error = mirrors(
            "",
            "Types: deb\nURIs: http://a.test/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n",
        )
        .unwrap_err();
        assert!(error.to_string().contains("no Debian mirror"), "{error}");
    }

    #[test]
    fn a_mirror_list_in_a_file_is_looked_into() {
        let found = mirrors("deb mirror+file:///etc/apt/mirrors/debian.list bookworm main\n", "").unwrap();
        assert_eq!(found.main, "https://mirror.test/debian");
        assert!(found.need_certificates());
    }

    #[test]
    fn media_and_unknown_transports_are_passed_over() {
        let found = mirrors(
            "deb cdrom:[Debian]/ bookworm main\ndeb tor+http://o.test/debian bookworm main\n\
             deb http://m.test/debian bookworm main\n",
            "",
        )
        .unwrap();
        assert_eq!(found.main, "http://m.test/debian");
        assert!(!found.need_certificates());
    }

    #[test]
    fn a_release_gets_its_updates_and_security_suites_and_unstable_needs_none() {
        let mirrors = Mirrors {
            main: "http://m.test/debian".into(),
            security: Some("http://m.test/debian-security".into()),
        };
        let trixie = parse_stanzas(&mirrors.sources(Suite::Trixie));
        let suites: Vec<_> = trixie.iter().map(|source| source.suites.join(" ")).collect();
        assert_eq!(suites, ["trixie trixie-updates", "trixie-security"]);
        let sid = parse_stanzas(&mirrors.sources(Suite::Sid));
        assert_eq!((sid.len(), sid[0].suites.join(" ")), (1, "sid".to_owned()));
    }
}
