//! Where a database is and who we are to it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::secret::Secret;

/// The certificate authority that servers are verified against. There is no way to switch
/// verification off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ca {
    /// A PEM file, read at each connection: a renewed certificate needs no restart.
    File(PathBuf),
    /// PEM text.
    Pem(String),
}

impl Ca {
    pub(crate) fn pem(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::File(path) => fs::read(path),
            Self::Pem(text) => Ok(text.clone().into_bytes()),
        }
    }
}

/// Everything needed for a connection. No `Debug`: it holds a password.
#[derive(Clone)]
pub struct Settings {
    /// Host name; the server's certificate must bear it.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Role.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Authority of the server's certificate.
    pub ca: Ca,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
}

/// Settings could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file is missing or unreadable.
    #[error(
        "could not read {path}: {source}; mount the role's Secret (`<courseshard>-role-<service>`) there"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The port is no number.
    #[error("{path} holds `{found}`, which is no port")]
    Port {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
}

impl Settings {
    /// Reads a mounted role Secret: files `host`, `port`, `dbname`, `username`, `password`.
    pub fn from_dir(dir: &Path, ca: Ca, application_name: &str) -> Result<Self, SettingsError> {
        let read = |key: &str| {
            let path = dir.join(key);
            Secret::from_file(&path).map_err(|source| SettingsError::File { path, source })
        };
        let port = read("port")?.expose().to_owned();
        Ok(Self {
            host: read("host")?.expose().to_owned(),
            port: port.parse().map_err(|_| SettingsError::Port { path: dir.join("port"), found: port })?,
            database: read("dbname")?.expose().to_owned(),
            user: read("username")?.expose().to_owned(),
            password: read("password")?,
            ca,
            application_name: application_name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn secret_dir(name: &str, port: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("lyceum-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for (key, value) in [
            ("host", "school-pooler"),
            ("port", port),
            ("dbname", "lyceum"),
            ("username", "catalog"),
            ("password", "p"),
        ] {
            fs::write(dir.join(key), value).unwrap();
        }
        dir
    }

    #[test]
    fn a_mounted_secret_is_a_connection() {
        let dir = secret_dir("whole", "5432\n");
        let settings = Settings::from_dir(&dir, Ca::Pem(String::new()), "test").unwrap();
        fs::remove_dir_all(dir).unwrap();
        assert_eq!(
            (settings.host.as_str(), settings.port, settings.user.as_str()),
            ("school-pooler", 5432, "catalog")
        );
    }

    #[test]
    fn what_is_wrong_with_a_secret_is_said_with_the_file() {
        let dir = secret_dir("broken", "postgres");
        let wrong = || Settings::from_dir(&dir, Ca::Pem(String::new()), "test").err().unwrap().to_string();
        assert!(wrong().contains("port holds `postgres`"), "{}", wrong());
        fs::remove_file(dir.join("port")).unwrap();
        assert!(wrong().starts_with("could not read") && wrong().contains("port"), "{}", wrong());
        fs::remove_dir_all(dir).unwrap();
    }
}
