//! A login and simple queries on the protocol itself.
//!
//! sqlx hides what is needed here: the parameters a server reports at login, its process number,
//! and the freedom to dial one address while the certificate is checked for another name.

use std::{collections::BTreeMap, io, time::Duration};

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::{
    authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256},
    message::{
        backend::{AuthenticationSaslBody, ErrorFields, Message},
        frontend,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use super::{settings::Settings, tls};

/// Longest wait for a login or an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What went wrong on the wire.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection could not be made or broke.
    #[error("connection to {address}: {source}")]
    Io {
        /// Where it led.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The server answered with an error.
    #[error("{address} answered: {message} (SQLSTATE {state})")]
    Server {
        /// Who.
        address: String,
        /// Its words.
        message: String,
        /// Its code.
        state: String,
    },
    /// No answer in time.
    #[error("{address} did not answer within {} s", TIMEOUT.as_secs())]
    Timeout {
        /// Who.
        address: String,
    },
}

/// A logged-in connection.
pub struct Session {
    stream: TlsStream<TcpStream>,
    buffer: BytesMut,
    address: String,
    parameters: BTreeMap<String, String>,
    process_id: i32,
}

impl Session {
    /// Logs in at the settings' own host.
    pub async fn open(settings: &Settings) -> Result<Self, WireError> {
        let address = format!("{}:{}", settings.host, settings.port);
        Self::open_at(&address, settings).await
    }

    /// Logs in at `address` (`host:port`); the certificate is still checked for the settings' host.
    pub async fn open_at(address: &str, settings: &Settings) -> Result<Self, WireError> {
        match timeout(TIMEOUT, Self::log_in(address, settings)).await {
            Ok(session) => session,
            Err(_) => Err(WireError::Timeout { address: address.to_owned() }),
        }
    }

    /// Parameters the server reported at login.
    pub fn parameters(&self) -> &BTreeMap<String, String> {
        &self.parameters
    }

    /// Process number the server gave at login.
    pub fn process_id(&self) -> i32 {
        self.process_id
    }

    /// Runs a statement by the simple protocol; returns the rows' values as text.
    pub async fn simple(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, WireError> {
        let address = self.address.clone();
        match timeout(TIMEOUT, self.query(sql)).await {
            Ok(rows) => rows,
            Err(_) => Err(WireError::Timeout { address }),
        }
    }

    /// Says goodbye, so that the server does not log a broken connection. Whether it hears it is
    /// of no interest.
    pub async fn close(mut self) {
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        if self.send(&out).await.is_ok() {
            let _ = timeout(TIMEOUT, self.stream.shutdown()).await;
        }
    }

    async fn log_in(address: &str, settings: &Settings) -> Result<Self, WireError> {
        let broken = |source| WireError::Io { address: address.to_owned(), source };
        let stream = encrypted(address, settings).await.map_err(broken)?;
        let mut session = Self {
            stream,
            buffer: BytesMut::new(),
            address: address.to_owned(),
            parameters: BTreeMap::new(),
            process_id: 0,
        };
        let mut out = BytesMut::new();
        let parameters = [
            ("user", settings.user.as_str()),
            ("database", settings.database.as_str()),
            ("client_encoding", "UTF8"),
            ("application_name", settings.application_name.as_str()),
        ];
        frontend::startup_message(parameters, &mut out).map_err(broken)?;
        session.send(&out).await?;
        session.authenticate(settings).await?;
        loop {
            match session.receive().await? {
                Message::ParameterStatus(body) => {
                    let name = body.name().map_err(broken)?.to_owned();
                    session.parameters.insert(name, body.value().map_err(broken)?.to_owned());
                }
                Message::BackendKeyData(body) => session.process_id = body.process_id(),
                Message::ReadyForQuery(_) => return Ok(session),
                _ => {}
            }
        }
    }

    async fn authenticate(&mut self, settings: &Settings) -> Result<(), WireError> {
        match self.receive().await? {
            Message::AuthenticationOk => Ok(()),
            Message::AuthenticationSasl(body) => self.scram(&body, settings).await,
            _ => Err(self.unexpected("the server asks for a login other than SCRAM-SHA-256")),
        }
    }

    async fn scram(
        &mut self,
        offered: &AuthenticationSaslBody,
        settings: &Settings,
    ) -> Result<(), WireError> {
        let known = offered.mechanisms().any(|mechanism| Ok(mechanism == SCRAM_SHA_256));
        if !known.map_err(|e| self.broken(e))? {
            return Err(self.unexpected("the server does not offer SCRAM-SHA-256"));
        }
        let mut scram =
            ScramSha256::new(settings.password.expose().as_bytes(), ChannelBinding::unsupported());
        let mut out = BytesMut::new();
        frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut out)
            .map_err(|e| self.broken(e))?;
        self.send(&out).await?;
        let Message::AuthenticationSaslContinue(body) = self.receive().await? else {
            return Err(self.unexpected("the login broke off in its first step"));
        };
        scram.update(body.data()).map_err(|e| self.broken(e))?;
        out.clear();
        frontend::sasl_response(scram.message(), &mut out).map_err(|e| self.broken(e))?;
        self.send(&out).await?;
        let Message::AuthenticationSaslFinal(body) = self.receive().await? else {
            return Err(self.unexpected("the login broke off in its second step"));
        };
        // This proves that the server knows the password too.
        scram.finish(body.data()).map_err(|e| self.broken(e))?;
        match self.receive().await? {
            Message::AuthenticationOk => Ok(()),
            _ => Err(self.unexpected("the login was not confirmed")),
        }
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, WireError> {
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out).map_err(|e| self.broken(e))?;
        self.send(&out).await?;
        let mut rows = Vec::new();
        loop {
            match self.receive().await? {
                Message::DataRow(body) => {
                    let values = body
                        .ranges()
                        .map(|range| Ok(range.and_then(|range| body.buffer().get(range)).map(text)))
                        .collect()
                        .map_err(|e| self.broken(e))?;
                    rows.push(values);
                }
                Message::ReadyForQuery(_) => return Ok(rows),
                _ => {}
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.stream.write_all(bytes).await.map_err(|e| self.broken(e))?;
        self.stream.flush().await.map_err(|e| self.broken(e))
    }

    /// The next message; an error message is an error.
    async fn receive(&mut self) -> Result<Message, WireError> {
        loop {
            match Message::parse(&mut self.buffer).map_err(|e| self.broken(e))? {
                Some(Message::ErrorResponse(body)) => return Err(self.answered(&mut body.fields())),
                Some(Message::NoticeResponse(_)) => {}
                Some(message) => return Ok(message),
                None => {
                    let read = self.stream.read_buf(&mut self.buffer).await.map_err(|e| self.broken(e))?;
                    if read == 0 {
                        return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
        }
    }

    fn answered(&self, fields: &mut ErrorFields<'_>) -> WireError {
        let (mut message, mut state) = (String::new(), String::new());
        while let Ok(Some(field)) = fields.next() {
            match field.type_() {
                b'M' => message = text(field.value_bytes()),
                b'C' => state = text(field.value_bytes()),
                _ => {}
            }
        }
        WireError::Server { address: self.address.clone(), message, state }
    }

    fn broken(&self, source: io::Error) -> WireError {
        WireError::Io { address: self.address.clone(), source }
    }

    fn unexpected(&self, problem: &str) -> WireError {
        self.broken(io::Error::new(io::ErrorKind::InvalidData, problem.to_owned()))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn encrypted(address: &str, settings: &Settings) -> io::Result<TlsStream<TcpStream>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    stream.write_all(&out).await?;
    match stream.read_u8().await? {
        b'S' => tls::upgrade(stream, &settings.ca, &settings.host).await,
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "the server does not speak TLS")),
    }
}
