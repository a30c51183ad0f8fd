//! PgBouncer's admin console.

use std::{io, net::SocketAddr};

use crate::{
    pg::{
        Ca, Settings,
        wire::{Session, WireError},
    },
    secret::Secret,
};

/// The database that is the console.
const CONSOLE: &str = "pgbouncer";

/// How to log in to the consoles of one formation's poolers. No `Debug`: it holds a password.
#[derive(Clone)]
pub struct Console {
    /// Name their certificates must bear, whatever address is dialled.
    pub server_name: String,
    /// A user in `admin_users`.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Authority of their certificates.
    pub ca: Ca,
}

/// Makes each pooler replace its server connections as they come back, and with them the
/// statements prepared before a change of the schema ("cached plan must not change result type",
/// pgbouncer#1038). Every process has to be told; the answer of each comes back with its address.
pub async fn reconnect(
    addresses: &[SocketAddr],
    console: &Console,
) -> Vec<(SocketAddr, Result<(), WireError>)> {
    let mut answers = Vec::with_capacity(addresses.len());
    for address in addresses {
        answers.push((*address, command(*address, console, "RECONNECT").await.map(drop)));
    }
    answers
}

/// Runs one console command.
pub async fn command(
    address: SocketAddr,
    console: &Console,
    command: &str,
) -> Result<Vec<Vec<Option<String>>>, WireError> {
    let settings = Settings {
        host: console.server_name.clone(),
        port: address.port(),
        database: CONSOLE.into(),
        user: console.user.clone(),
        password: console.password.clone(),
        ca: console.ca.clone(),
        application_name: "lyceum".into(),
    };
    let mut session = Session::open_at(&address.to_string(), &settings).await?;
    let answer = session.simple(command).await?;
    session.close().await;
    Ok(answer)
}

/// Every address behind a headless name. A name without any address is an empty list: no pooler
/// runs, so none holds an old statement. A failing name server is an error.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match tokio::net::lookup_host((host, port)).await {
        Ok(found) => {
            let mut addresses: Vec<_> = found.collect();
            addresses.sort_unstable();
            addresses.dedup();
            Ok(addresses)
        }
        Err(error) if is_unknown_name(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// getaddrinfo's EAI_NONAME and EAI_NODATA, which the standard library passes on as text only.
fn is_unknown_name(error: &io::Error) -> bool {
    let text = error.to_string();
    text.contains("Name or service not known") || text.contains("No address associated with hostname")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn only_an_unknown_name_means_that_no_pooler_runs() {
        let lookup = |text: &str| io::Error::other(format!("failed to lookup address information: {text}"));
        assert!(is_unknown_name(&lookup("Name or service not known")));
        assert!(is_unknown_name(&lookup("No address associated with hostname")));
        assert!(!is_unknown_name(&lookup("Temporary failure in name resolution")));
    }
}
