//! What people read when something is wrong: what happened, where, what to do next, and the exit code.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::net::{TcpListener, UdpSocket};

use fanal_tests::broker::{World, loopback};
use fanal_tests::cli;

#[test]
fn a_start_that_cannot_listen_leaves_nothing_behind() {
    let world = World::new();
    let udp = UdpSocket::bind(loopback(0)).unwrap();
    let tcp = TcpListener::bind(loopback(0)).unwrap();
    let taken = [
        ("--listen", udp.local_addr().unwrap().to_string(), "--admin"),
        ("--admin", tcp.local_addr().unwrap().to_string(), "--listen"),
    ];
    for (flag, address, other) in taken {
        let data = world.path("data").to_string_lossy().into_owned();
        let finished = cli::run(["serve", "--data", &data, flag, &address, other, "127.0.0.1:0"]);
        assert_eq!(finished.code, Some(1), "{}", finished.stderr);
        for word in [&address, "another process uses this port", flag, "IP:PORT"] {
            assert!(finished.stderr.contains(word), "{word} in {}", finished.stderr);
        }
        assert!(!world.path("data").exists(), "{flag}");
    }
}
