//! A certificate authority in two files.

use std::fs;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use crate::state::{RegionPaths, write_file};

/// Longer than any lab lives; short enough that a forgotten kubeconfig loses its worth.
const LIFETIME: Duration = Duration::days(365);

/// What a certificate is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// To be connected to.
    Server,
    /// To connect.
    Client,
    /// Both.
    Both,
}

/// A certificate to be issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Common name: the user's name in Kubernetes.
    pub name: String,
    /// Organisation: the user's group in Kubernetes.
    pub group: Option<String>,
    /// Host names and addresses of a server.
    pub names: Vec<String>,
    /// What it is good for.
    pub usage: Usage,
}

impl Request {
    /// A server's certificate; `localhost` and 127.0.0.1 are added.
    #[must_use]
    pub fn server(name: &str, names: &[&str]) -> Self {
        let names = names.iter().copied().chain(["localhost", "127.0.0.1"]).map(str::to_owned).collect();
        Self { name: name.to_owned(), group: None, names, usage: Usage::Server }
    }

    /// A client's certificate.
    #[must_use]
    pub fn client(name: &str, group: Option<&str>) -> Self {
        Self {
            name: name.to_owned(),
            group: group.map(str::to_owned),
            names: Vec::new(),
            usage: Usage::Client,
        }
    }
}

/// A certificate with its key, both as PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// An authority that can sign.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Reads `<file>.crt` and `<file>.key`, or makes them.
    ///
    /// # Errors
    /// When the files are there but damaged, or cannot be written.
    pub fn load_or_create(paths: &RegionPaths, file: &str, name: &str) -> Result<Self> {
        let (certificate_path, key_path) =
            (paths.pki(&format!("{file}.crt")), paths.pki(&format!("{file}.key")));
        // The certificate is written last, so that both are there when it is.
        if certificate_path.exists() {
            let read = |path| fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"));
            return Self::from_pem(read(&certificate_path)?, &read(&key_path)?).with_context(|| {
                format!("{} or its key is damaged: run `lab down`", certificate_path.display())
            });
        }
        let (certificate, key) = self_signed(name)?;
        write_file(&key_path, &key, 0o600)?;
        write_file(&certificate_path, &certificate, 0o644)?;
        Self::from_pem(certificate, &key)
    }

    fn from_pem(certificate: String, key: &str) -> Result<Self> {
        let key = KeyPair::from_pem(key).context("no private key")?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).context("no certificate")?;
        Ok(Self { certificate, issuer })
    }

    /// The authority's own certificate as PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Signs a new certificate with a new key.
    ///
    /// # Errors
    /// When a name is neither a host name nor an address.
    pub fn issue(&self, request: &Request) -> Result<Issued> {
        let mut params = CertificateParams::new(request.names.clone())
            .with_context(|| format!("the names of {} are no host names", request.name))?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, request.name.as_str());
        if let Some(group) = &request.group {
            params.distinguished_name.push(DnType::OrganizationName, group.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match request.usage {
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.use_authority_key_identifier_extension = true;
        valid_from_now(&mut params);
        let key = KeyPair::generate().context("no key can be generated")?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("the certificate of {} cannot be signed", request.name))?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Issues into `<file>.crt` and `<file>.key` unless they are there.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn ensure_files(&self, paths: &RegionPaths, file: &str, request: &Request) -> Result<()> {
        let certificate = paths.pki(&format!("{file}.crt"));
        if certificate.exists() {
            return Ok(());
        }
        let issued = self.issue(request)?;
        write_file(&paths.pki(&format!("{file}.key")), &issued.key, 0o600)?;
        write_file(&certificate, &issued.certificate, 0o644)
    }
}

fn self_signed(name: &str) -> Result<(String, String)> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    valid_from_now(&mut params);
    let key = KeyPair::generate().context("no key can be generated")?;
    let certificate = params.self_signed(&key).context("the authority cannot sign itself")?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn valid_from_now(params: &mut CertificateParams) {
    let now = OffsetDateTime::now_utc();
    // Backdated, so that a step of the clock does not make a new certificate "not yet valid".
    params.not_before = now - Duration::hours(1);
    params.not_after = now + LIFETIME;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn paths(root: &std::path::Path) -> RegionPaths {
        RegionPaths { state: root.join("a"), run: root.join("run") }
    }

    #[test]
    fn an_authority_is_made_once_and_then_read() {
        let directory = tempfile::tempdir().unwrap();
        let paths = paths(directory.path());
        let first = Authority::load_or_create(&paths, "ca", "lab").unwrap();
        let second = Authority::load_or_create(&paths, "ca", "lab").unwrap();
        assert_eq!(first.certificate(), second.certificate());
        second.issue(&Request::client("system:node:a-n1", Some("system:nodes"))).unwrap();
    }

    #[test]
    fn a_certificate_that_is_there_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let paths = paths(directory.path());
        let authority = Authority::load_or_create(&paths, "ca", "lab").unwrap();
        let request = Request::server("etcd", &["198.18.1.2"]);
        authority.ensure_files(&paths, "etcd", &request).unwrap();
        let first = fs::read_to_string(paths.pki("etcd.crt")).unwrap();
        authority.ensure_files(&paths, "etcd", &request).unwrap();
        assert_eq!(fs::read_to_string(paths.pki("etcd.crt")).unwrap(), first);
    }

    #[test]
    fn a_damaged_authority_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let paths = paths(directory.path());
        write_file(&paths.pki("ca.crt"), "x", 0o644).unwrap();
        write_file(&paths.pki("ca.key"), "x", 0o600).unwrap();
        let error = Authority::load_or_create(&paths, "ca", "lab").err().unwrap();
        assert!(error.to_string().contains("lab down"), "{error:#}");
    }
}
