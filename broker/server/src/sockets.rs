//! The addresses of a broker, taken before its start writes anything.
//!
//! Invariant: taken is not answered: QUIC packets wait in the socket's buffer, TCP connections are
//! refused, until the broker has recovered and the listeners are made.

use std::net::{SocketAddr, UdpSocket};

use tokio::net::{TcpListener, TcpSocket};

use crate::error::StartError;
use crate::quic;

/// Connections to admin HTTP that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Taken, not yet answered on.
pub(crate) struct Sockets {
    pub(crate) quic: UdpSocket,
    admin: TcpSocket,
    admin_address: SocketAddr,
}

impl Sockets {
    /// Takes both addresses.
    ///
    /// # Errors
    /// [`StartError::Listen`]; neither is taken then.
    pub(crate) fn take(listen: SocketAddr, admin: SocketAddr) -> Result<Self, StartError> {
        let quic = quic::bind(listen).map_err(|source| StartError::Listen {
            what: "QUIC",
            address: listen,
            source,
        })?;
        let socket = bind_admin(admin).map_err(|source| failed_admin(admin, source))?;
        Ok(Sockets { quic, admin: socket, admin_address: admin })
    }

    /// Begins to listen for admin HTTP; the QUIC socket is given back.
    ///
    /// # Errors
    /// [`StartError::Listen`], when another process listens there since.
    pub(crate) fn listen(self) -> Result<(UdpSocket, TcpListener, SocketAddr), StartError> {
        let fail = |source| failed_admin(self.admin_address, source);
        let listener = self.admin.listen(BACKLOG).map_err(fail)?;
        let bound = listener.local_addr().map_err(fail)?;
        Ok((self.quic, listener, bound))
    }
}

fn bind_admin(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port whose last connections are still closing is free.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn failed_admin(address: SocketAddr, source: std::io::Error) -> StartError {
    StartError::Listen { what: "admin HTTP", address, source }
}
