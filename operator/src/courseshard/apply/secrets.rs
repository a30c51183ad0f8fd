//! Makes the Secrets that are missing, and puts right those that were edited.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret as KubeSecret};
use kube::{ResourceExt, core::ObjectMeta};
use lyceum_crds::course_shard::names::{
    Component, DATABASE, LABEL_FORMATION, LABEL_INSTANCE, Names, POSTGRES_PORT, REPLICATION_USER,
    REWIND_USER, SUPERUSER,
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::Applier;
use crate::{
    courseshard::{
        error::Error,
        pki::{self, Certified},
        render::{DesiredSecrets, SecretKind, auth_keys, login_roles},
        secrets::{HOSTS_ANNOTATION, NOT_AFTER_ANNOTATION, random},
    },
    runtime::Created,
};

/// Annotation on the Secret of the server certificate: hash of what it held when made.
const CONTENT_ANNOTATION: &str = "lyceum.dev/content";

/// Data of a Secret.
type Data = BTreeMap<String, ByteString>;

/// Makes what is missing. Reads Secrets only when one is missing or was touched.
pub(super) async fn make(applier: &mut Applier<'_>, desired: &DesiredSecrets) -> Result<(), Error> {
    let names = Names::from(applier.shard);
    let hosts = hash(desired.hosts.join("\n").as_bytes());
    let settled = desired.all.iter().all(|(name, _)| {
        applier.caches.secrets.get(names.namespace(), name).is_some_and(|seen| {
            applier.memory.is_unchanged(&marker(&names, name, &hosts), &seen.metadata)
                && !is_ending(seen.annotations().get(NOT_AFTER_ANNOTATION), Timestamp::now())
        })
    });
    if settled {
        return Ok(());
    }
    let mut authority: Option<Certified> = None;
    let mut passwords = Data::new();
    for (name, kind) in &desired.all {
        let secret = match kind {
            SecretKind::Ca => {
                let secret = create(applier, &names, name, new_authority).await?;
                authority = Some(authority_of(&secret)?);
                secret
            }
            SecretKind::Auth => {
                let secret = create(applier, &names, name, |_| Ok(new_passwords())).await?;
                passwords = secret.data.clone().unwrap_or_default();
                secret
            }
            SecretKind::CaCert => {
                let cert = authority.as_ref().map(|authority| authority.cert.clone()).unwrap_or_default();
                derive(applier, &names, name, [("ca.crt".to_owned(), cert)].into()).await?
            }
            SecretKind::Tls => match authority.as_ref() {
                Some(authority) => server(applier, &names, name, authority, desired, &hosts).await?,
                None => continue,
            },
            SecretKind::Role { service, username } => {
                let password = text(&passwords, &names.auth_secret(), &auth_keys::role(service))?;
                derive(applier, &names, name, connection(&names, username, &password)).await?
            }
        };
        applier.memory.applied(&marker(&names, name, &hosts), &secret.metadata);
    }
    Ok(())
}

/// Stands for "Secret of this name, for these hosts" in the memory of what was applied:
/// its content is never hashed there.
fn marker(names: &Names, name: &str, hosts: &str) -> KubeSecret {
    KubeSecret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(names.namespace().to_owned()),
            annotations: Some([(HOSTS_ANNOTATION.to_owned(), hosts.to_owned())].into()),
            ..ObjectMeta::default()
        },
        ..KubeSecret::default()
    }
}

/// Creates a Secret that can't be made twice; one that is there stays as it is.
async fn create(
    applier: &Applier<'_>,
    names: &Names,
    name: &str,
    content: impl FnOnce(&str) -> Result<BTreeMap<String, String>, Error>,
) -> Result<KubeSecret, Error> {
    if let Some(there) = applier.fx.get::<KubeSecret>(names.namespace(), name).await? {
        return ours(applier, there);
    }
    let secret = object(applier, names, name, content(formation(applier))?);
    match applier.fx.create_only(names.namespace(), &secret).await? {
        Created::Created(secret) => Ok(secret),
        Created::Existed(secret) => ours(applier, secret),
    }
}

/// Applies a Secret whose content follows from another.
async fn derive(
    applier: &Applier<'_>,
    names: &Names,
    name: &str,
    content: BTreeMap<String, String>,
) -> Result<KubeSecret, Error> {
    if let Some(there) = applier.fx.get::<KubeSecret>(names.namespace(), name).await? {
        ours(applier, there)?;
    }
    Ok(applier.fx.apply(&object(applier, names, name, content)).await?)
}

/// The server certificate: kept while it is whole and names all hosts, else issued anew.
async fn server(
    applier: &Applier<'_>,
    names: &Names,
    name: &str,
    authority: &Certified,
    desired: &DesiredSecrets,
    hosts: &str,
) -> Result<KubeSecret, Error> {
    if let Some(there) = applier.fx.get::<KubeSecret>(names.namespace(), name).await? {
        let there = ours(applier, there)?;
        let annotation = |key: &str| there.annotations().get(key).map(String::as_str);
        let whole = annotation(CONTENT_ANNOTATION) == Some(&content_hash(there.data.as_ref()));
        let same_authority = there
            .data
            .as_ref()
            .and_then(|data| data.get("ca.crt"))
            .is_some_and(|ca| ca.0 == authority.cert.as_bytes());
        let ending = is_ending(there.annotations().get(NOT_AFTER_ANNOTATION), Timestamp::now());
        if whole && same_authority && !ending && annotation(HOSTS_ANNOTATION) == Some(hosts) {
            return Ok(there);
        }
    }
    let server = pki::server(authority, &desired.hosts, OffsetDateTime::now_utc())?;
    let mut secret = object(
        applier,
        names,
        name,
        [
            ("ca.crt".to_owned(), authority.cert.clone()),
            ("tls.crt".to_owned(), server.cert),
            ("tls.key".to_owned(), server.key.expose().to_owned()),
        ]
        .into(),
    );
    secret.type_ = Some("kubernetes.io/tls".into());
    secret.metadata.annotations = Some(
        [
            (HOSTS_ANNOTATION.to_owned(), hosts.to_owned()),
            (CONTENT_ANNOTATION.to_owned(), content_hash(secret.data.as_ref())),
            (NOT_AFTER_ANNOTATION.to_owned(), not_after(Timestamp::now())),
        ]
        .into(),
    );
    Ok(applier.fx.apply(&secret).await?)
}

/// End of a server certificate made now.
fn not_after(now: Timestamp) -> String {
    now.checked_add(pki::SERVER_LIFE).unwrap_or(now).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whether a certificate that ends at `not_after` is to be replaced. What is no time is.
fn is_ending(not_after: Option<&String>, now: Timestamp) -> bool {
    let Some(text) = not_after else { return false };
    let renew_from = now.checked_add(pki::RENEW_BELOW).unwrap_or(now);
    text.parse::<Timestamp>().map_or(true, |end| end < renew_from)
}

fn object(applier: &Applier<'_>, names: &Names, name: &str, content: BTreeMap<String, String>) -> KubeSecret {
    KubeSecret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(names.namespace().to_owned()),
            // No owner: Retain keeps Secrets, and they must outlive the CourseShard then.
            labels: Some(names.labels(formation(applier), Component::Secrets)),
            ..ObjectMeta::default()
        },
        data: Some(content.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))).collect()),
        type_: Some("Opaque".into()),
        ..KubeSecret::default()
    }
}

fn formation<'a>(applier: &'a Applier<'_>) -> &'a str {
    let status = applier.shard.status.as_ref();
    status.and_then(|status| status.formation_id.as_deref()).unwrap_or_default()
}

/// Refuses a Secret that isn't of this formation.
fn ours(applier: &Applier<'_>, secret: KubeSecret) -> Result<KubeSecret, Error> {
    let label = |key: &str| secret.labels().get(key).map(String::as_str);
    let ours = label(LABEL_INSTANCE) == Some(&applier.shard.name_any())
        && label(LABEL_FORMATION) == Some(formation(applier));
    if ours { Ok(secret) } else { Err(Error::Foreign { kind: "Secret".into(), name: secret.name_any() }) }
}

fn new_authority(formation: &str) -> Result<BTreeMap<String, String>, Error> {
    let authority = pki::authority(formation, OffsetDateTime::now_utc())?;
    Ok([("ca.crt".to_owned(), authority.cert), ("ca.key".to_owned(), authority.key.expose().to_owned())]
        .into())
}

fn authority_of(secret: &KubeSecret) -> Result<Certified, Error> {
    let data = secret.data.clone().unwrap_or_default();
    let name = secret.name_any();
    Ok(Certified { cert: text(&data, &name, "ca.crt")?, key: text(&data, &name, "ca.key")?.into() })
}

/// All passwords, and the two files that list them.
fn new_passwords() -> BTreeMap<String, String> {
    let mut content = BTreeMap::new();
    let mut userlist = String::new();
    let mut pgpass = String::new();
    let mut make = |key: String, user: &str, pooled: bool, peer: bool| {
        let password = random();
        if pooled {
            userlist.push_str(&format!("\"{user}\" \"{}\"\n", password.expose()));
        }
        if peer {
            pgpass.push_str(&format!("*:*:*:{user}:{}\n", password.expose()));
        }
        content.insert(key, password.expose().to_owned());
    };
    make(auth_keys::SUPERUSER.into(), SUPERUSER, false, true);
    make(auth_keys::REPLICATION.into(), REPLICATION_USER, false, true);
    make(auth_keys::REWIND.into(), REWIND_USER, false, true);
    make(auth_keys::REST.into(), auth_keys::REST_USER, false, false);
    make(auth_keys::POOLER_ADMIN.into(), auth_keys::POOLER_ADMIN_USER, true, false);
    for (service, role) in login_roles() {
        make(auth_keys::role(service), role, true, true);
    }
    content.insert(auth_keys::USERLIST.into(), userlist);
    content.insert(auth_keys::PGPASS.into(), pgpass);
    content
}

/// What a service needs to connect through the pooler.
fn connection(names: &Names, username: &str, password: &str) -> BTreeMap<String, String> {
    let host = names.service_fqdn(&names.pooler());
    let uri =
        format!("postgres://{username}:{password}@{host}:{POSTGRES_PORT}/{DATABASE}?sslmode=verify-full");
    [
        ("username", username.to_owned()),
        ("password", password.to_owned()),
        ("host", host),
        ("port", POSTGRES_PORT.to_string()),
        ("dbname", DATABASE.to_owned()),
        ("uri", uri),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

fn text(data: &Data, secret: &str, key: &str) -> Result<String, Error> {
    let missing = || Error::SecretIncomplete { name: secret.to_owned(), key: key.to_owned() };
    let value = data.get(key).ok_or_else(missing)?;
    String::from_utf8(value.0.clone()).map_err(|_| missing())
}

fn content_hash(data: Option<&Data>) -> String {
    let mut all = Vec::new();
    for (key, value) in data.into_iter().flatten() {
        all.extend_from_slice(key.as_bytes());
        all.push(0);
        all.extend_from_slice(&Sha256::digest(&value.0));
    }
    hash(&all)
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_login_role_is_in_both_files_and_no_superuser_goes_through_the_pooler() {
        let content = new_passwords();
        let file = |key: &str| content.get(key).cloned().unwrap_or_default();
        let (userlist, pgpass) = (file(auth_keys::USERLIST), file(auth_keys::PGPASS));
        for (service, role) in login_roles() {
            let password = file(&auth_keys::role(service));
            assert!(userlist.contains(&format!("\"{role}\" \"{password}\"\n")), "{role}");
            assert!(pgpass.contains(&format!("*:*:*:{role}:{password}\n")), "{role}");
        }
        assert!(pgpass.contains("*:*:*:postgres:"));
        assert!(!userlist.contains(SUPERUSER) && !userlist.contains(REPLICATION_USER));
    }

    #[test]
    fn a_certificate_is_replaced_in_the_last_third_of_its_life() {
        let now = Timestamp::UNIX_EPOCH;
        let end = not_after(now);
        let third = pki::SERVER_LIFE / 3;
        let later = |life| now.checked_add(life).unwrap_or(now);
        assert!(!is_ending(Some(&end), now));
        assert!(!is_ending(Some(&end), later(third)));
        assert!(is_ending(Some(&end), later(third * 2 + std::time::Duration::from_secs(1))));
        assert!(is_ending(Some(&"soon".to_owned()), now));
    }

    #[test]
    fn a_changed_byte_or_a_renamed_key_changes_the_content_hash() {
        let data = |key: &str, value: &str| Data::from([(key.to_owned(), ByteString(value.into()))]);
        let whole = content_hash(Some(&data("tls.crt", "a")));
        assert_ne!(whole, content_hash(Some(&data("tls.crt", "b"))));
        assert_ne!(whole, content_hash(Some(&data("tls.key", "a"))));
    }
}
