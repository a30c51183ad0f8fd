//! RECONNECT on every pooler after a change.

use std::time::Duration;

use lyceum_kit::{
    backoff::Backoff,
    pg::Ca,
    pooler::{Console, admin},
    secret::Secret,
};
use tracing::{info, warn};

use crate::{
    args::{Poolers, Server},
    error::MigrateError,
};

const TRIES: u32 = 6;
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(5) };

/// Tells every pooler. `false`: no name was given, so it is still to be done.
pub(crate) async fn reconnect(poolers: &Poolers, server: &Server) -> Result<bool, MigrateError> {
    let Some(host) = &poolers.poolers_headless else {
        info!("RECONNECT stays due: no --poolers-headless was given");
        return Ok(false);
    };
    let path = &poolers.pooler_password_file;
    let console = Console {
        server_name: poolers.pooler_server_name.clone().unwrap_or_else(|| format!("pooler.{host}")),
        user: poolers.pooler_user.clone(),
        password: Secret::from_file(path)
            .map_err(|source| MigrateError::Password { path: path.clone(), source })?,
        ca: Ca::File(server.ca_file.clone()),
    };
    let mut failures = 0;
    loop {
        match everywhere(host, poolers.pooler_port, &console).await {
            Ok(told) => {
                info!("RECONNECT on {told} poolers");
                return Ok(true);
            }
            Err(error) => {
                failures += 1;
                if failures == TRIES {
                    return Err(error);
                }
                warn!("{error}");
                // Pods come and go: the name is asked again each time.
                BACKOFF.sleep(failures).await;
            }
        }
    }
}

/// One round over the poolers there are now.
async fn everywhere(host: &str, port: u16, console: &Console) -> Result<usize, MigrateError> {
    let addresses = admin::resolve(host, port)
        .await
        .map_err(|source| MigrateError::PoolerName { host: host.to_owned(), source })?;
    for (address, answer) in admin::reconnect(&addresses, console).await {
        answer.map_err(|error| MigrateError::Reconnect {
            address: address.to_string(),
            problem: error.to_string(),
        })?;
    }
    Ok(addresses.len())
}
