//! Every violation of `protocol/vectors/violations.json` that a client or a peer can commit ends
//! its connection at a real broker with the code of the file, and nothing else.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::path::Path;

use fanal_protocol::control::{OpenPublish, PeerHello, PeerReady};
use fanal_protocol::{ALPN_CLIENT, ALPN_PEER, Control, Incarnation, PROTOCOL_VERSION, StoreId};
use fanal_tests::authority::{Authority, Identity};
use fanal_tests::broker::{Broker, World};
use fanal_tests::raw::{self, Raw};
use quinn::{Connection, SendStream};
use serde_json::Value;

/// The vectors of those senders.
fn violations(senders: &[&str]) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/vectors/violations.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut vectors = file["vectors"].as_array().unwrap().clone();
    vectors.retain(|vector| senders.contains(&vector["sender"].as_str().unwrap()));
    vectors
}

fn bytes(vector: &Value) -> Vec<u8> {
    let digits = vector["hex"].as_str().unwrap().as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// Sends the bytes of a vector on the stream that it names. Whether the broker takes them all is
/// seen by how it closes.
async fn commit(vector: &Value, connection: &Connection, control: &mut SendStream) -> Option<SendStream> {
    if vector["stream"] == "control" {
        let _ = control.write_all(&bytes(vector)).await;
        return None;
    }
    let mut stream = connection.open_uni().await.unwrap();
    let _ = stream.write_all(&bytes(vector)).await;
    if vector["ends"] == true {
        let _ = stream.finish();
    }
    Some(stream) // a stream that is dropped is reset
}

async fn check_refusal(vector: &Value, connection: &Connection) {
    let (code, reason) = raw::refusal(connection).await;
    assert_eq!(Some(code), vector["code"].as_u64(), "{}: {reason}", vector["name"]);
    assert!(!reason.is_empty(), "{}: no reason", vector["name"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_violations_end_its_connection_with_their_code() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let mut bystander = Raw::attach(&broker).await;
    let identity = Identity::local(broker.data());
    let vectors = violations(&["client", "any"]);
    assert!(vectors.len() > 70, "{} violations", vectors.len());
    for vector in &vectors {
        if vector["first"] == true {
            let connection = raw::dial(&broker, ALPN_CLIENT, Some(&identity)).await.unwrap();
            let (mut control, _answers) = connection.open_bi().await.unwrap();
            let _stream = commit(vector, &connection, &mut control).await;
            check_refusal(vector, &connection).await;
            continue;
        }
        let mut raw = Raw::attach_as(&broker, &identity).await;
        if vector.get("needs").is_some() {
            raw.send(OpenPublish { channel: 1, resume: None }).await;
            raw.expect(|frame| matches!(frame, Control::PublishOpened(_)).then_some(())).await;
        }
        let _stream = commit(vector, &raw.connection.clone(), raw.control()).await;
        check_refusal(vector, &raw.connection).await;
    }
    bystander.publisher(1, None).await.unwrap().publish(1, "own/x", b"x").await;
    assert_eq!(bystander.receipts(1).await, [(1, 200)], "nobody else notices");
}

/// A link up to both sides' PeerReady, each under a name of its own.
async fn link(broker: &Broker, authority: &Authority, number: usize) -> (Connection, SendStream) {
    let identity = authority.issue(&format!("fanal://broker/peer-{number}"));
    let connection = raw::dial(broker, ALPN_PEER, Some(&identity)).await.unwrap();
    let (mut control, mut answers) = connection.open_bi().await.unwrap();
    let mut store = [0; 16];
    store[..8].copy_from_slice(&number.to_be_bytes());
    let incarnation = Incarnation { store: StoreId(store), recovery_epoch: 0, start: 1 };
    let hello = PeerHello { versions: vec![PROTOCOL_VERSION], agent: "fanal-tests".into(), incarnation };
    let ready = PeerReady { version: PROTOCOL_VERSION, received_through: 0, body_bytes_max: 1 << 20 };
    let mut out = Vec::new();
    Control::from(hello).encode(&mut out);
    Control::from(ready).encode(&mut out);
    control.write_all(&out).await.unwrap();
    tokio::spawn(async move { while let Ok(Some(_)) = answers.read_chunk(1 << 16, true).await {} });
    (connection, control)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peers_violations_end_the_link_with_their_code() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let authority = Authority::of(broker.ca());
    let vectors = violations(&["peer", "any"]);
    assert!(vectors.len() > 40, "{} violations", vectors.len());
    for (number, vector) in vectors.iter().enumerate() {
        if vector["first"] == true {
            let identity = authority.issue(&format!("fanal://broker/peer-{number}"));
            let connection = raw::dial(&broker, ALPN_PEER, Some(&identity)).await.unwrap();
            let (mut control, _answers) = connection.open_bi().await.unwrap();
            let _stream = commit(vector, &connection, &mut control).await;
            check_refusal(vector, &connection).await;
            continue;
        }
        let (connection, mut control) = link(&broker, &authority, number).await;
        let _stream = commit(vector, &connection, &mut control).await;
        check_refusal(vector, &connection).await;
    }
}
