//! TLS with one trusted authority: ours.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::settings::Ca;

/// Turns a connection into an encrypted one; the server must bear `name` in a certificate of `ca`.
pub(super) async fn upgrade(stream: TcpStream, ca: &Ca, name: &str) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&ca.pem()?) {
        let certificate = certificate.map_err(|e| invalid(format!("the CA certificate is no PEM: {e}")))?;
        roots.add(certificate).map_err(|e| invalid(format!("the CA certificate can't be used: {e}")))?;
    }
    if roots.is_empty() {
        return Err(invalid("the CA file holds no certificate".into()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| invalid(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).map_err(|e| invalid(format!("`{name}`: {e}")))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn invalid(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, problem)
}
