//! The poolers' admin consoles.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::ResourceExt;
use lyceum_crds::course_shard::{
    CourseShard,
    names::{Component, LABEL_COMPONENT, Names, POSTGRES_PORT},
};
use lyceum_kit::{
    pg::Ca,
    pooler::{Console, admin},
};

use super::{error::Error, render::auth_keys};
use crate::runtime::{Caches, Effects, Key};

/// Tells every pooler process to drop its server connections as they come free: they lead
/// to what was the primary. One that doesn't answer is logged and left to find out by itself.
pub(super) async fn reconnect_all(shard: &CourseShard, caches: &Caches, fx: &Effects) -> Result<(), Error> {
    let names = Names::from(shard);
    let pods: Vec<_> = caches
        .pods
        .owned_by(&Key::of(shard))
        .into_iter()
        .filter_map(|pod| {
            let pooler = pod.labels().get(LABEL_COMPONENT).is_some_and(|c| c == Component::Pooler.as_str());
            let address: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
            pooler.then(|| (pod.name_any(), SocketAddr::new(address, POSTGRES_PORT)))
        })
        .collect();
    let password = value(fx, &names, &names.auth_secret(), auth_keys::POOLER_ADMIN).await?;
    let ca = value(fx, &names, &names.ca_cert_secret(), "ca.crt").await?;
    for (pod, address) in pods {
        let console = Console {
            // Any name under the headless Service: one wildcard covers them all.
            server_name: format!("{pod}.{}", names.service_fqdn(&names.pooler_pods_service())),
            user: auth_keys::POOLER_ADMIN_USER.into(),
            password: password.clone().into(),
            ca: Ca::Pem(ca.clone()),
        };
        let call = admin::command(address, &console, "RECONNECT");
        match fx.external("reconnect", "pooler", pod.as_str(), call).await? {
            Ok(_) => tracing::info!(pod, "pooler told to reconnect"),
            Err(error) => tracing::warn!(pod, %error, "pooler could not be told to reconnect"),
        }
    }
    Ok(())
}

/// One value of a Secret.
pub(super) async fn value(fx: &Effects, names: &Names, secret: &str, key: &str) -> Result<String, Error> {
    let missing = || Error::SecretIncomplete { name: secret.to_owned(), key: key.to_owned() };
    let found = fx.get::<KubeSecret>(names.namespace(), secret).await?.ok_or_else(missing)?;
    let value = found.data.and_then(|mut data| data.remove(key)).ok_or_else(missing)?;
    String::from_utf8(value.0).map_err(|_| missing())
}
