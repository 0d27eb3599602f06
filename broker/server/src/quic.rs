//! QUIC endpoints and transport parameters; the only place that knows them.
//!
//! Figures follow the project's measurements: few streams allowed before authentication (their
//! state is allocated eagerly), windows capped so that a stuck consumer holds little memory,
//! large socket buffers because they remove loss on loopback.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fanal_protocol::Code;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, ConnectionError, Endpoint, EndpointConfig, IdleTimeout, TransportConfig,
    TransportErrorCode, VarInt,
};
use quinn_proto::HashedConnectionIdGenerator;
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::StartError;
use crate::trust::Trust;

/// Asked of the system for both directions; what it grants may be less.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// Makes the listener of a broker on its socket.
pub(crate) fn endpoint(
    trust: &Trust,
    data: &Path,
    listen: SocketAddr,
    socket: UdpSocket,
) -> Result<Endpoint, StartError> {
    let tls = trust.server_config()?;
    let crypto =
        QuicServerConfig::try_from(tls).map_err(|error| StartError::Tls { reason: error.to_string() })?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    server.transport_config(Arc::new(client_transport()));
    server.max_incoming(4096);
    server.incoming_buffer_size(32 * 1024);
    server.migration(true);
    // A restarted broker answers packets of connections that it no longer knows with resets that
    // they recognise, so that clients and peers come back at once instead of after a timeout.
    let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &trust.reset_secret(data)?);
    // It must also know its former connection ids as its own: packets to others are not answered.
    let cid_key = cid_key(&reset_key);
    let mut endpoint_config = EndpointConfig::new(Arc::new(reset_key));
    endpoint_config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(cid_key)));
    let runtime = Arc::new(quinn::TokioRuntime);
    Endpoint::new(endpoint_config, Some(server), socket, runtime).map_err(|source| StartError::Listen {
        what: "QUIC",
        address: listen,
        source,
    })
}

/// What connection ids of this broker are recognised by, in this life and the next. They tell nothing
/// of the key of resets.
fn cid_key(reset_key: &ring::hmac::Key) -> u64 {
    let tag = ring::hmac::sign(reset_key, b"fanal connection ids");
    tag.as_ref().iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
}

/// Takes the address of a broker; nobody is answered before [`endpoint`].
pub(crate) fn bind(listen: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
    // Smaller buffers work too: they cost loss under bursts, not correctness.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&listen.into())?;
    Ok(socket.into())
}

fn timeout(seconds: u64) -> Option<IdleTimeout> {
    IdleTimeout::try_from(Duration::from_secs(seconds)).ok()
}

/// For connections that clients dial, and for links until they are known as such.
fn client_transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_uni_streams(VarInt::from_u32(8))
        .max_concurrent_bidi_streams(VarInt::from_u32(4))
        .stream_receive_window(VarInt::from_u32(1 << 20))
        .receive_window(VarInt::from_u32(4 << 20))
        .send_window(4 << 20)
        .max_idle_timeout(timeout(60))
        .datagram_receive_buffer_size(None);
    transport
}

/// For links that this side dials.
fn link_transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_uni_streams(VarInt::from_u32(8))
        .max_concurrent_bidi_streams(VarInt::from_u32(4))
        .stream_receive_window(VarInt::from_u32(8 << 20))
        .receive_window(VarInt::from_u32(32 << 20))
        .send_window(32 << 20)
        .max_idle_timeout(timeout(10))
        .keep_alive_interval(Some(Duration::from_secs(2)))
        .datagram_receive_buffer_size(None);
    transport
}

/// Raises the windows of an accepted connection once it is known to be a link.
pub(crate) fn tune_link(connection: &quinn::Connection) {
    connection.set_receive_window(VarInt::from_u32(32 << 20));
    connection.set_send_window(32 << 20);
}

/// What dials a peer of a name.
pub(crate) fn peer_client_config(trust: &Trust, name: &str) -> Result<ClientConfig, String> {
    let tls = trust.peer_client_config(name).map_err(|error| error.to_string())?;
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(link_transport()));
    Ok(config)
}

/// Takes the text of a certificate's refusal out of rustls' debug form.
fn certificate_reason(reason: &str) -> String {
    match reason.split_once("OtherError(") {
        Some((_, inner)) => {
            format!("the other side's certificate is refused: {}", inner.trim_end_matches(')'))
        }
        None => reason.to_owned(),
    }
}

/// Whether one side does not want the connection as it is, rather than that it cannot be reached, is
/// busy, or keeps another one: dialling again does not help (PROTOCOL.md 7.1).
pub(crate) fn is_refusal(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::ApplicationClosed(close) => is_refusal_code(close.error_code.into_inner()),
        ConnectionError::TransportError(error) => is_alert(error.code),
        ConnectionError::ConnectionClosed(close) => is_alert(close.error_code),
        _ => false,
    }
}

/// As [`is_refusal`], of a code that ends a connection.
pub(crate) fn is_refusal_code(code: u64) -> bool {
    let lasting = [Code::Malformed, Code::Unauthenticated, Code::Forbidden, Code::TooLarge, Code::Version];
    lasting.iter().any(|lasting| u64::from(lasting.number()) == code)
}

/// TLS alerts, as QUIC carries them (RFC 9001, 4.8).
fn is_alert(code: TransportErrorCode) -> bool {
    (0x100..0x200).contains(&u64::from(code))
}

/// Why a connection could not be made or ended, for people.
pub(crate) fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            format!("refused ({}): {}", close.error_code, String::from_utf8_lossy(&close.reason))
        }
        ConnectionError::TransportError(error) => {
            format!("handshake failed: {}", certificate_reason(&error.reason))
        }
        ConnectionError::ConnectionClosed(close) => {
            let alert = u64::from(close.error_code).checked_sub(0x100).filter(|alert| *alert < 0x100);
            match alert {
                Some(120) => "the other side does not speak Fanal's protocol between brokers".into(),
                _ => format!("handshake refused: {close}"),
            }
        }
        ConnectionError::TimedOut => "no answer: is the broker running, and is UDP open to it?".into(),
        other => other.to_string(),
    }
}
