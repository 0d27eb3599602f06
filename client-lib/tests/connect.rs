//! The first connection, and what is said when it fails.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

mod common;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use common::{Broker, TestAuthority, server_config};
use fanal_client::{Client, Code, ConnectError, Credentials};

fn credentials(authority: &TestAuthority, endpoint: &quinn::Endpoint, broker: &str) -> Credentials {
    let address = endpoint.local_addr().unwrap().to_string();
    Credentials::from_json(&authority.credentials(&address, broker)).unwrap()
}

fn endpoint(authority: &TestAuthority, role: &str, alpn: &[u8]) -> quinn::Endpoint {
    let config = server_config(authority, role, alpn);
    let endpoint = quinn::Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            if let Ok(connection) = incoming.await {
                connection.close(403u32.into(), b"unknown authority: run `fanal ca approve`");
                connection.closed().await;
            }
        }
    });
    endpoint
}

async fn failure(credentials: &Credentials) -> ConnectError {
    let connecting = Client::builder(credentials).timeout(Duration::from_secs(5)).connect();
    connecting.await.err().expect("a failure")
}

#[tokio::test]
async fn nobody_listening_is_noticed_at_once() {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    drop(socket);
    let started = Instant::now();
    let credentials = Credentials::from_json(&TestAuthority::new().credentials(&address, "ewr")).unwrap();
    let error = failure(&credentials).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("fanal serve"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn another_protocol_is_explained() {
    let authority = TestAuthority::new();
    let server = endpoint(&authority, "fanal://broker/ewr", b"h3");
    let error = failure(&credentials(&authority, &server, "ewr")).await;
    assert!(error.to_string().contains("ALPN `fanal/1`"), "{error}");
}

#[tokio::test]
async fn another_broker_and_another_authority_are_refused_with_the_reason() {
    let authority = TestAuthority::new();
    let server = endpoint(&authority, "fanal://broker/jfk", b"fanal/1");
    let error = failure(&credentials(&authority, &server, "ewr")).await.to_string();
    assert!(error.contains("fanal://broker/jfk") && error.contains("broker ewr"), "{error}");
    let error = failure(&credentials(&TestAuthority::new(), &server, "jfk")).await.to_string();
    assert!(error.contains("unknown authority"), "{error}");
}

#[tokio::test]
async fn what_the_broker_says_is_passed_on() {
    let authority = TestAuthority::new();
    let server = endpoint(&authority, "fanal://broker/ewr", b"fanal/1");
    let error = failure(&credentials(&authority, &server, "ewr")).await;
    assert!(matches!(&error, ConnectError::Refused { refused, .. } if refused.code == Code::Forbidden));
    assert!(error.to_string().contains("fanal ca approve"), "{error}");
}

#[tokio::test]
async fn the_next_address_is_tried() {
    let broker = Broker::start();
    let address = broker.address.to_string();
    let credentials = broker.credentials().with_addresses(vec!["127.0.0.1:1".into(), address]);
    let client = Client::connect(&credentials).await.unwrap();
    assert!(client.is_connected());
}

#[test]
fn a_broker_that_is_gone_without_a_word_is_noticed_and_its_successor_found() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (ours, theirs, successors) = (runtime(), runtime(), runtime());
    let broker = theirs.block_on(async { Broker::start() });
    let client = ours.block_on(async {
        let client = Client::connect(&broker.credentials()).await.unwrap();
        client.publish("t").payload("before").await.unwrap();
        client
    });
    // Returns when its tasks have ended.
    theirs.shutdown_timeout(Duration::from_secs(20));
    broker.vanish();
    let pending = ours.block_on(client.publish("t").payload("during").send()).unwrap();
    let started = Instant::now();
    while client.is_connected() {
        std::thread::sleep(Duration::from_millis(20));
        assert!(started.elapsed() < Duration::from_secs(8), "not noticed");
    }
    successors.block_on(async { broker.reappear() });
    let receipt = ours.block_on(async { tokio::time::timeout(Duration::from_secs(20), pending).await });
    assert_eq!(receipt.unwrap().unwrap().sequence, 2);
    assert_eq!(broker.state().log.len(), 2);
}
