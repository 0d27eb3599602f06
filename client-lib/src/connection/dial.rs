//! From credentials to a connection with a `Welcome`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fanal_protocol::control::{Hello, Welcome};
use fanal_protocol::tls;
use fanal_protocol::{ALPN_CLIENT, CONTROL_FRAME_BYTES_MAX, Code, Control, PROTOCOL_VERSION, frame};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, Endpoint, EndpointConfig, TokioRuntime, TransportConfig, VarInt};
use tokio::io::AsyncReadExt;

use crate::credentials::Credentials;
use crate::error::{ConnectError, Refused};
use crate::shared::Options;

use super::witness::Witness;

/// The name in the TLS handshake. Brokers are known by their certificate's role, not by host.
const SERVER_NAME: &str = "fanal";
const CONTROL_PRIORITY: i32 = 10;
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;
/// TLS alert `no_application_protocol`.
const ALERT_NO_ALPN: u64 = 120;

/// A connection on which the broker has said `Welcome`.
pub(crate) struct Dialled {
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: quinn::Connection,
    pub(crate) control: quinn::SendStream,
    pub(crate) answers: ControlReader,
    pub(crate) welcome: Welcome,
    pub(crate) address: String,
}

/// Reads whole control frames.
pub(crate) struct ControlReader {
    stream: quinn::RecvStream,
    buffer: BytesMut,
}

impl ControlReader {
    fn new(stream: quinn::RecvStream) -> Self {
        ControlReader { stream, buffer: BytesMut::new() }
    }

    /// The next block of whole frames; `None` at the end of the stream. Cancel-safe.
    pub(crate) async fn next_block(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            let block = frame::take_whole(&mut self.buffer, CONTROL_FRAME_BYTES_MAX);
            if let Some(block) = block.map_err(|error| error.to_string())? {
                return Ok(Some(block));
            }
            self.buffer.reserve(READ_BYTES);
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// Tries the addresses in order, each for at most the timeout.
pub(crate) async fn dial(credentials: &Credentials, options: &Options) -> Result<Dialled, ConnectError> {
    let mut failure = None;
    for address in &credentials.addresses {
        match dial_address(credentials, options, address).await {
            Ok(dialled) => return Ok(dialled),
            // What a broker says is worth more than silence elsewhere.
            Err(error) => match failure {
                Some(ConnectError::Refused { .. }) => {}
                _ => failure = Some(error),
            },
        }
    }
    Err(failure.unwrap_or(ConnectError::Address {
        address: String::new(),
        reason: "the credentials name no address".into(),
    }))
}

async fn dial_address(
    credentials: &Credentials,
    options: &Options,
    address: &str,
) -> Result<Dialled, ConnectError> {
    let unresolved = |reason: String| ConnectError::Address { address: address.to_owned(), reason };
    let targets = tokio::net::lookup_host(address).await.map_err(|error| unresolved(error.to_string()))?;
    let mut failure = unresolved("the name has no address".into());
    for target in targets {
        let dialling = dial_target(credentials, options, address, target);
        failure = match tokio::time::timeout(options.timeout, dialling).await {
            Ok(Ok(dialled)) => return Ok(dialled),
            Ok(Err(error)) => error,
            Err(_) => ConnectError::Unreachable {
                address: address.to_owned(),
                reason: format!("no answer within {:?}", options.timeout),
            },
        };
    }
    Err(failure)
}

async fn dial_target(
    credentials: &Credentials,
    options: &Options,
    address: &str,
    target: SocketAddr,
) -> Result<Dialled, ConnectError> {
    let local = |source| ConnectError::Local { address: address.to_owned(), source };
    let socket = bind(target).map_err(local)?;
    let mut endpoint =
        Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime)).map_err(local)?;
    let witness = Witness::new(credentials);
    endpoint.set_default_client_config(client_config(credentials, address, Arc::clone(&witness))?);
    let connecting = endpoint
        .connect(target, SERVER_NAME)
        .map_err(|error| ConnectError::Protocol { address: address.to_owned(), reason: error.to_string() })?;
    let connection = tokio::select! {
        connection = connecting => connection.map_err(|error| match witness.refusal() {
            Some(reason) => ConnectError::Tls { address: address.to_owned(), reason },
            None => explain(&error, address),
        })?,
        reason = refused_by_host(target) => {
            return Err(ConnectError::Unreachable { address: address.to_owned(), reason });
        }
    };
    greet(endpoint, connection, options, address).await
}

async fn greet(
    endpoint: Endpoint,
    connection: quinn::Connection,
    options: &Options,
    address: &str,
) -> Result<Dialled, ConnectError> {
    let lost = |error: &ConnectionError| explain(error, address);
    let (mut control, stream) = connection.open_bi().await.map_err(|error| lost(&error))?;
    // Fails only on a closed connection, which the first write tells better.
    let _ = control.set_priority(CONTROL_PRIORITY);
    let mut hello = Vec::new();
    let frame = Hello {
        versions: vec![PROTOCOL_VERSION],
        agent: options.agent.clone(),
        client: options.client,
        connection: options.connections.fetch_add(1, Ordering::Relaxed),
    };
    Control::from(frame).encode(&mut hello);
    let written = control.write_all(&hello).await;
    let mut answers = ControlReader::new(stream);
    let read = match written {
        Ok(()) => answers.next_block().await,
        Err(error) => Err(error.to_string()),
    };
    let protocol = |reason: String| ConnectError::Protocol { address: address.to_owned(), reason };
    let Ok(Some(block)) = read else {
        if let Some(error) = connection.close_reason() {
            return Err(lost(&error));
        }
        return Err(protocol(read.err().unwrap_or("the stream ended before a Welcome".into())));
    };
    let first = frame::frames(&block).next().unwrap_or_default();
    let rest = block.slice(first.end..);
    match Control::decode(&block[first]).map_err(|error| protocol(error.to_string()))? {
        Control::Welcome(welcome) if welcome.version == PROTOCOL_VERSION => {
            // Frames that came along go back to the front of the buffer.
            let mut buffer = BytesMut::from(&rest[..]);
            buffer.extend_from_slice(&answers.buffer);
            answers.buffer = buffer;
            let address = address.to_owned();
            Ok(Dialled { endpoint, connection, control, answers, welcome, address })
        }
        Control::Welcome(welcome) => Err(protocol(format!(
            "it chose protocol version {}, this library speaks {PROTOCOL_VERSION}",
            welcome.version
        ))),
        Control::Close(close) => Err(ConnectError::Refused {
            address: address.to_owned(),
            refused: Refused::from_wire(close.code, String::new(), close.reason),
        }),
        other => Err(protocol(format!("it began with {} instead of Welcome", other.name()))),
    }
}

fn bind(target: SocketAddr) -> std::io::Result<std::net::UdpSocket> {
    use socket2::{Domain, Protocol, Socket, Type};
    let local: IpAddr = match (target.ip().is_loopback(), target.is_ipv4()) {
        (true, true) => Ipv4Addr::LOCALHOST.into(),
        (true, false) => Ipv6Addr::LOCALHOST.into(),
        (false, true) => Ipv4Addr::UNSPECIFIED.into(),
        (false, false) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = Socket::new(Domain::for_address(target), Type::DGRAM, Some(Protocol::UDP))?;
    // The system may allow less; then bursts are slower, nothing is lost.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(local, 0).into())?;
    Ok(socket.into())
}

/// Returns when the target's host says that nobody listens, which QUIC itself would not notice
/// before its timeout. One datagram that no QUIC endpoint takes for a packet.
pub(super) async fn refused_by_host(target: SocketAddr) -> String {
    let probe = async {
        let socket = tokio::net::UdpSocket::from_std(bind(target)?)?;
        socket.connect(target).await?;
        socket.send(&[0]).await?;
        socket.recv(&mut [0; 1]).await
    };
    match probe.await {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            "nothing listens on that port".into()
        }
        _ => std::future::pending().await,
    }
}

fn client_config(
    credentials: &Credentials,
    address: &str,
    witness: Arc<Witness>,
) -> Result<quinn::ClientConfig, ConnectError> {
    let failed = |reason: String| ConnectError::Tls { address: address.to_owned(), reason };
    let mut config = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| failed(error.to_string()))?
        .dangerous() // the verifier is Fanal's own: roles instead of host names
        .with_custom_certificate_verifier(witness)
        .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())
        .map_err(|error| {
            failed(format!("our own certificate is not usable: {error}; get new credentials"))
        })?;
    config.alpn_protocols = vec![ALPN_CLIENT.to_vec()];
    let crypto = QuicClientConfig::try_from(config).map_err(|error| failed(error.to_string()))?;
    let mut client = quinn::ClientConfig::new(Arc::new(crypto));
    client.transport_config(Arc::new(transport()));
    Ok(client)
}

fn transport() -> TransportConfig {
    const MIB: u32 = 1024 * 1024;
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(VarInt::from_u32(30_000).into()))
        .keep_alive_interval(Some(Duration::from_secs(10)))
        .stream_receive_window(VarInt::from_u32(2 * MIB))
        .receive_window(VarInt::from_u32(8 * MIB))
        .send_window(u64::from(8 * MIB))
        .max_concurrent_uni_streams(VarInt::from_u32(8))
        .max_concurrent_bidi_streams(VarInt::from_u32(4))
        .datagram_receive_buffer_size(None);
    config
}

/// What a lost connection means before a `Welcome`.
fn explain(error: &ConnectionError, address: &str) -> ConnectError {
    let address = address.to_owned();
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let number = u16::try_from(close.error_code.into_inner()).unwrap_or(Code::Internal.number());
            let reason = String::from_utf8_lossy(&close.reason).into_owned();
            ConnectError::Refused { address, refused: Refused::from_wire(number, String::new(), reason) }
        }
        ConnectionError::ConnectionClosed(close) => {
            explain_transport(close.error_code.into(), error.to_string(), address)
        }
        ConnectionError::TransportError(inner) => {
            explain_transport(inner.code.into(), inner.reason.clone(), address)
        }
        ConnectionError::VersionMismatch => {
            ConnectError::Protocol { address, reason: "it does not speak QUIC version 1".into() }
        }
        other => ConnectError::Unreachable { address, reason: other.to_string() },
    }
}

/// QUIC's CONNECTION_REFUSED (RFC 9000 section 20.1).
const QUIC_REFUSED: u64 = 2;

fn explain_transport(code: u64, reason: String, address: String) -> ConnectError {
    match code.checked_sub(0x100) {
        None if code == QUIC_REFUSED => {
            let reason = "it takes no connections now: it is shutting down, or full".into();
            ConnectError::Unreachable { address, reason }
        }
        Some(ALERT_NO_ALPN) => ConnectError::Protocol {
            address,
            reason: "it does not offer ALPN `fanal/1`: is a Fanal broker of this version listening there?"
                .into(),
        },
        Some(alert) if alert < 0x100 => ConnectError::Tls { address, reason },
        _ => ConnectError::Protocol { address, reason },
    }
}

/// What a lost connection means later on, for the log.
pub(crate) fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let reason = String::from_utf8_lossy(&close.reason).into_owned();
            format!("the broker closed it with {}: {reason}", close.error_code)
        }
        other => other.to_string(),
    }
}
