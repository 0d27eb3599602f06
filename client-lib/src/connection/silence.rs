//! Notices a broker that is gone before QUIC's idle timeout does.
//!
//! A broker that lives answers what we send. When packets go out and none comes back, its host is
//! asked whether anybody listens on the port (a process that was killed is known within about a
//! second), and after [`SILENCE_MAX`] the connection is given up: dialling again costs little, and
//! nothing is lost by it. A connection on which nobody speaks is left to the keep-alive.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::dial::refused_by_host;

const LOOK: Duration = Duration::from_secs(1);
const SILENCE_MAX: Duration = Duration::from_secs(10);
const PROBE: Duration = Duration::from_millis(300);
/// Datagrams without an answer; fewer may be acknowledgements, which nobody answers.
const UNANSWERED_MIN: u64 = 4;

/// Returns when the broker is gone, with the reason.
pub(crate) async fn watch(connection: quinn::Connection, target: SocketAddr) -> String {
    let stats = connection.stats();
    let (mut received, mut sent) = (stats.udp_rx.datagrams, stats.udp_tx.datagrams);
    let mut heard = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        let stats = connection.stats();
        if stats.udp_rx.datagrams != received {
            (received, sent, heard) = (stats.udp_rx.datagrams, stats.udp_tx.datagrams, Instant::now());
        } else if stats.udp_tx.datagrams >= sent + UNANSWERED_MIN {
            if let Ok(reason) = tokio::time::timeout(PROBE, refused_by_host(target)).await {
                return reason;
            }
            if heard.elapsed() >= SILENCE_MAX {
                return format!("no answer for {SILENCE_MAX:?}");
            }
        }
    }
}
