//! The formation's certificate authority and the one server certificate under it.

use std::time::Duration;

use lyceum_crds::course_shard::names::Names;
use lyceum_kit::Secret;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use time::OffsetDateTime;

/// Life of the authority: as long as a formation may stand without its clients
/// having to be given another certificate to trust.
pub const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Life of the server certificate.
pub const SERVER_LIFE: Duration = Duration::from_secs(2 * 365 * 24 * 3600);
/// A server certificate with less than this left of its life is replaced. Pods take the new
/// one up when they are next started, for which there is then the better part of a year.
pub const RENEW_BELOW: Duration = Duration::from_secs(SERVER_LIFE.as_secs() / 3);
/// Certificates start this long ago, so that a pod whose clock is behind accepts them.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// A certificate and its key, as PEM.
pub struct Certified {
    /// Certificate.
    pub cert: String,
    /// PKCS#8 private key.
    pub key: Secret,
}

/// Making a certificate failed; only a broken authority Secret can cause it.
#[derive(Debug, thiserror::Error)]
#[error("the certificate authority in the Secret can't be used: {0}")]
pub struct PkiError(#[from] rcgen::Error);

/// A new authority for one formation.
pub fn authority(formation_id: &str, now: OffsetDateTime) -> Result<Certified, PkiError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = params(&format!("lyceum formation {formation_id}"), CA_LIFE, now);
    // No further authority under this one.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let cert = params.self_signed(&key)?;
    Ok(Certified { cert: cert.pem(), key: key.serialize_pem().into() })
}

/// A certificate for every server of the formation: PostgreSQL, Patroni and the pooler.
pub fn server(authority: &Certified, hosts: &[String], now: OffsetDateTime) -> Result<Certified, PkiError> {
    let issuer = Issuer::from_ca_cert_pem(&authority.cert, KeyPair::from_pem(authority.key.expose())?)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = params("lyceum formation server", SERVER_LIFE, now);
    params.subject_alt_names = CertificateParams::new(hosts)?.subject_alt_names;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let cert = params.signed_by(&key, &issuer)?;
    Ok(Certified { cert: cert.pem(), key: key.serialize_pem().into() })
}

fn params(common_name: &str, life: Duration, now: OffsetDateTime) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + life;
    params
}

/// Every name a client may reach a server of the formation by.
///
/// Pods by one wildcard for each headless Service (a wildcard stands for one label, so it
/// covers every pod of any group); Services by name, in each of their four forms.
pub fn server_hosts(names: &Names, groups: impl Iterator<Item = i32>) -> Vec<String> {
    let mut hosts = vec![
        format!("*.{}", names.service_fqdn(&names.nodes_service())),
        format!("*.{}", names.service_fqdn(&names.pooler_pods_service())),
        "localhost".to_owned(),
    ];
    hosts.extend(names.service_hosts(&names.pooler()));
    for group in groups {
        hosts.extend(names.service_hosts(&names.primary_service(group)));
        hosts.extend(names.service_hosts(&names.readonly_service(group)));
    }
    hosts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn the_server_certificate_is_issued_by_the_authority() {
        let now = OffsetDateTime::now_utc();
        let authority = authority("school-abc123", now).unwrap();
        let server = server(&authority, &["school-pooler".into()], now).unwrap();
        assert!(server.cert.contains("BEGIN CERTIFICATE"));
        assert!(server.key.expose().contains("PRIVATE KEY"));
        assert!(authority.cert != server.cert);
    }

    #[test]
    fn a_broken_authority_is_an_error_and_not_a_panic() {
        let broken = Certified { cert: "no certificate".into(), key: "no key".to_owned().into() };
        assert!(super::server(&broken, &["x".into()], OffsetDateTime::now_utc()).is_err());
    }

    #[test]
    fn each_service_is_named_in_all_its_forms() {
        let hosts = server_hosts(&Names::new("school", "lyceum"), 0..=2);
        for host in [
            "*.school-nodes.lyceum.svc.cluster.local",
            "school-pooler",
            "school-g2-primary.lyceum",
            "school-g1-readonly.lyceum.svc.cluster.local",
        ] {
            assert!(hosts.iter().any(|known| known == host), "{host} is not in {hosts:?}");
        }
    }
}
