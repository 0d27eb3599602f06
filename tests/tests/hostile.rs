//! Bad input: each gets a clear answer, nobody else notices, nothing is lost.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use fanal_client::{Client, Code, ConnectError, Credentials, Error, Subscription};
use fanal_protocol::control::{Ack, Hello, STREAM_PUBLISH, StreamOpen, Subscribe};
use fanal_protocol::event::{PublishHeader, TopicRef};
use fanal_protocol::{ALPN_CLIENT, ALPN_PEER, Class, Control, frame};
use fanal_tests::authority::{Authority, Identity};
use fanal_tests::broker::{Broker, World, free_address};
use fanal_tests::http;
use fanal_tests::raw::{self, Raw};
use fanal_tests::subscriber::payloads;
use fanal_tests::wait::{until, within};

/// Somebody who minds their own business on the same broker.
struct Bystander {
    client: Client,
    live: Subscription,
    durable: Subscription,
    count: usize,
}

impl Bystander {
    async fn on(broker: &Broker) -> Bystander {
        let client = broker.client().await;
        let live = client.subscribe("own/#").await.unwrap();
        let durable = client.subscribe("own/#").durable("own").await.unwrap();
        Bystander { client, live, durable, count: 0 }
    }

    /// Publishes and gets it twice, on the connection that it has had all the time.
    async fn goes_on(&mut self) {
        self.count += 1;
        let payload = format!("x{}", self.count);
        let receipt =
            within("a receipt", self.client.publish("own/x").payload(payload.clone())).await.unwrap();
        assert_eq!((receipt.code, receipt.destinations), (Code::Durable, 1));
        assert_eq!(payloads(&mut self.live, 1).await, [payload.as_str()]);
        assert_eq!(payloads(&mut self.durable, 1).await, [payload.as_str()]);
        assert_eq!(self.client.connection_losses(), 0);
    }
}

/// ALPN and certificate; the code and words of the answer.
type Attempt<'a> = (&'a [u8], Option<Identity>, u64, &'a [&'a str]);

struct Scene {
    _world: World,
    broker: Broker,
    bystander: Bystander,
}

impl Scene {
    async fn new() -> Scene {
        let world = World::new();
        let broker = world.broker("ewr").start();
        let bystander = Bystander::on(&broker).await;
        Scene { _world: world, broker, bystander }
    }

    /// The broker must close the connection with this code and words; nobody else notices.
    async fn closed(&mut self, connection: &quinn::Connection, code: u64, words: &[&str]) {
        let (got, reason) = raw::refusal(connection).await;
        assert_eq!(got, code, "{reason}");
        for word in words {
            assert!(reason.contains(word), "{reason:?} lacks {word:?}");
        }
        self.bystander.goes_on().await;
    }
}

fn prefixed(len: usize, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_prefix(&mut out, len);
    out.extend_from_slice(bytes);
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_control_frames_end_the_connection_with_a_reason() {
    let mut scene = Scene::new().await;
    let cases: [(Vec<u8>, u64, &[&str]); 7] = [
        (prefixed(2, &[6, 0xc1]), 400, &["malformed"]),
        (prefixed(4, &[6, 0x81, 1, 0xa1]), 400, &["malformed"]),
        (prefixed(2, &[31, 0x80]), 400, &["unknown frame type 31", "control"]),
        (prefixed(0, &[]), 400, &["empty frame"]),
        (prefixed(300 * 1024, &[]), 413, &["307200", "262144"]),
        (vec![0xff; 8], 413, &["exceeds"]),
        (prefixed(2, &[39, 0x80]), 400, &["unexpected frame HopAck"]),
    ];
    for (bytes, code, words) in cases {
        let mut raw = Raw::attach(&scene.broker).await;
        raw.send_bytes(&bytes).await;
        scene.closed(&raw.connection, code, words).await;
    }
    let mut raw = Raw::attach(&scene.broker).await;
    raw.send(Ack { channel: 1, ranges: vec![(5, 2)] }).await;
    scene.closed(&raw.connection, 400, &["5 to 2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_begins_with_a_hello_of_a_known_version() {
    let mut scene = Scene::new().await;
    let identity = Identity::local(scene.broker.data());
    let first = |frame: Control| {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        bytes
    };
    let hello = |versions| first(Hello { versions, agent: "old".into(), ..Default::default() }.into());
    for (bytes, code, words) in [
        (hello(vec![99]), 426, &["99", "1 is spoken"][..]),
        (hello(vec![]), 426, &["1 is spoken"]),
        (first(Subscribe::default().into()), 400, &["unexpected frame Subscribe", "Hello"]),
        // `GE` reads as a frame of 1,861 bytes.
        (b"GET / HTTP/1.1\r\n".repeat(120), 400, &["unknown frame type 84"]),
    ] {
        let connection = raw::dial(&scene.broker, ALPN_CLIENT, Some(&identity)).await.unwrap();
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        scene.closed(&connection, code, words).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_event_streams_end_the_connection_with_a_reason() {
    let mut scene = Scene::new().await;
    let mut open = Vec::new();
    StreamOpen { kind: STREAM_PUBLISH }.encode(&mut open);
    let after_open = |bytes: &[u8]| [&open[..], bytes].concat();
    let mut unaliased = Vec::new();
    let header = PublishHeader {
        channel: 77,
        class: Class::AtLeastOnce,
        topic: TopicRef::Text("t"),
        sequence: 1,
        ttl_ms: None,
        wants_receipt: false,
    };
    header.encode(&[0x80], &mut Vec::new(), &mut unaliased);
    let body_and_more = 1024 * 1024 + 4 * 1024 + 1;
    let cases: [(Vec<u8>, u64, &[&str]); 7] = [
        (after_open(&prefixed(2, &[60, 0x80])), 400, &["unknown frame type 60", "event stream"]),
        (after_open(&prefixed(body_and_more, &[])), 413, &["exceeds"]),
        (after_open(&prefixed(3, &[52, 0xc1, 0xc1])), 400, &["malformed publish frame"]),
        (after_open(&unaliased), 400, &["channel 77", "OpenPublish"]),
        (prefixed(2, &[51, 1]), 400, &["unexpected frame"]),
        (
            b"\x3fgarbage that is no frame at all, but long enough to be taken for one, alas".to_vec(),
            400,
            &[],
        ),
        (after_open(&open), 400, &["unexpected frame"]),
    ];
    for (bytes, code, words) in cases {
        let raw = Raw::attach(&scene.broker).await;
        let mut stream = raw.connection.open_uni().await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        scene.closed(&raw.connection, code, words).await;
    }
    let raw = Raw::attach(&scene.broker).await;
    let mut stream = raw.connection.open_uni().await.unwrap();
    stream.write_all(&after_open(&prefixed(100, &[52, 1]))).await.unwrap();
    stream.finish().unwrap();
    scene.closed(&raw.connection, 400, &["inside a frame"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_on_every_stream_harms_nobody() {
    let rounds = if fanal_tests::cli::is_long() { 2_000 } else { 100 };
    let mut scene = Scene::new().await;
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut noise = |len: usize| -> Vec<u8> {
        let mut byte = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 32) as u8
        };
        (0..len).map(|_| byte()).collect()
    };
    for round in 0..rounds {
        let mut raw = Raw::attach(&scene.broker).await;
        if let Ok(mut stream) = raw.connection.open_uni().await {
            let _ = stream.write_all(&noise(1 + round % 700)).await;
            let _ = stream.finish();
        }
        raw.send_bytes(&noise(1 + round % 90)).await;
    }
    scene.bystander.goes_on().await;
    drop(scene.bystander.client.clone());
    until("only the bystander to be left", || {
        let sessions = http::Metrics::of(&scene.broker).sum("fanal_sessions", &[]);
        // Those whose noise was not a whole frame yet are still attached, and end with their side.
        (sessions <= 1.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_breaks_a_rule_is_refused_and_the_session_lives() {
    let mut scene = Scene::new().await;
    let mut raw = Raw::attach(&scene.broker).await;
    let mut publisher = raw.publisher(1, None).await.unwrap();
    let mut sequence = 0;
    let big = vec![0; 1024 * 1024 + 1024];
    let time = [0x81, 5, 0x81, 0xa4, b't', b'i', b'm', b'e', 1];
    let bodies: [(&str, &[u8], u16, &str); 9] = [
        ("", &[0x80], 400, "topic"),
        ("a/+", &[0x80], 400, "topic 'a/+'"),
        ("a/#/b", &[0x80], 400, "topic"),
        ("a", &[0xc1], 400, "body"),
        ("a", &[0x80, 0x80], 400, "bytes after the map"),
        ("a", &[0x81, 5], 400, "body"),
        ("a", &[0x82, 1, 0xa1, b'x', 1, 0xa1, b'x'], 400, "twice"),
        ("a", &time, 400, "`time`"),
        ("a", &big, 413, "limit"),
    ];
    for (topic, body, code, word) in bodies {
        sequence += 1;
        let header = PublishHeader {
            channel: 1,
            class: Class::AtLeastOnce,
            topic: TopicRef::Text(topic),
            sequence,
            ttl_ms: None,
            wants_receipt: false,
        };
        let mut out = Vec::new();
        header.encode(body, &mut Vec::new(), &mut out);
        publisher.write(&out).await;
        let exception = raw
            .expect(|frame| match frame {
                Control::Receipts(receipts) => receipts.exceptions.into_iter().next(),
                _ => None,
            })
            .await;
        assert_eq!((exception.sequence, exception.code), (sequence, code), "{exception:?}");
        assert!(exception.reason.contains(word), "{exception:?} lacks {word}");
        publisher.skip(sequence, sequence).await;
    }
    publisher.publish(sequence + 1, "own/else", b"good").await;
    assert_eq!(raw.receipts(1).await, [(sequence + 1, 200)]);
    assert_eq!(payloads(&mut scene.bystander.live, 1).await, ["good"]);
    assert_eq!(payloads(&mut scene.bystander.durable, 1).await, ["good"]);
    scene.bystander.goes_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_filters_are_refused_where_they_are_wrong_and_leave_no_trace() {
    let mut scene = Scene::new().await;
    let client = scene.broker.client().await;
    let long = format!("a{}", "/a".repeat(64));
    let cases: [(&str, Option<&str>, u16, &[&str]); 8] = [
        ("a/#", Some("dep_delay >"), 422, &["1:12", "expected a value"]),
        (
            "a/#",
            // CESQL goes from left to right, SQL binds AND tighter.
            Some("a = 1 OR b = 2 AND c = 3"),
            422,
            &["(a = 1 OR b = 2) AND c = 3", "a = 1 OR (b = 2 AND c = 3)"],
        ),
        ("a/#", Some("NOT a = b"), 422, &["NOT (a = b)"]),
        ("a/#", Some("name LIKE 5"), 422, &[]),
        ("a/#", Some(""), 422, &[]),
        ("a/#/b", None, 400, &["#"]),
        ("", None, 400, &[]),
        (&long, None, 400, &["64"]),
    ];
    for (filter, predicate, code, words) in cases {
        for durable in [None, Some("trace")] {
            let mut builder = client.subscribe(filter);
            builder = predicate.into_iter().fold(builder, |builder, text| builder.filter(text));
            builder = durable.into_iter().fold(builder, |builder, name| builder.durable(name));
            let error = Error::from(within("an answer", builder).await.err().unwrap());
            let refused = error.refused().unwrap_or_else(|| panic!("{error}"));
            assert_eq!(refused.code.number(), code, "{filter} {predicate:?}: {refused}");
            for word in words {
                assert!(refused.reason.contains(word), "{filter} {predicate:?}: {refused} lacks {word}");
            }
        }
    }
    let (_, page) = http::get(scene.broker.admin(), "/api/v1/subscriptions");
    assert!(!page.contains("trace"), "{page}");
    // The name is free, and the connection is as it was.
    assert!(!client.subscribe("a/#").durable("trace").await.unwrap().receipt().resumed);
    assert_eq!(client.connection_losses(), 0);
    scene.bystander.goes_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_alpn_finds_no_protocol() {
    let mut scene = Scene::new().await;
    let identity = Identity::local(scene.broker.data());
    for alpn in [&b"h3"[..], b"fanal/2", b"fanal"] {
        let error = raw::dial(&scene.broker, alpn, Some(&identity)).await.err().unwrap();
        let text = error.to_string();
        assert!(text.contains("120") || text.contains("application protocol"), "{text}");
    }
    scene.bystander.goes_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_decide_who_may_speak_what() {
    let mut scene = Scene::new().await;
    let (own, stranger) = (Authority::of(scene.broker.ca()), Authority::new());
    let fingerprint = stranger.fingerprint();
    let cases: [Attempt; 9] = [
        (ALPN_CLIENT, None, 401, &["no certificate", "--creds"]),
        (ALPN_PEER, None, 401, &["no certificate"]),
        (ALPN_PEER, Some(own.issue("fanal://client/till")), 403, &["fanal://client/till", "broker"]),
        (ALPN_CLIENT, Some(own.issue("fanal://broker/jfk")), 403, &["fanal://broker/jfk", "client"]),
        (ALPN_CLIENT, Some(stranger.issue("fanal://client/till")), 403, &["unknown authority", &fingerprint]),
        (ALPN_PEER, Some(stranger.issue("fanal://broker/jfk")), 403, &["unknown authority", &fingerprint]),
        (
            ALPN_CLIENT,
            Some(own.issue("https://example.org/x")),
            403,
            &["0 Fanal roles", "fanal://client/NAME"],
        ),
        (ALPN_PEER, Some(own.issue("fanal://broker/ewr")), 409, &["'ewr'", "name of its own"]),
        (ALPN_CLIENT, Some(own.issue("fanal://client/a b")), 403, &["0 Fanal roles"]),
    ];
    for (alpn, identity, code, words) in cases {
        let connection = raw::dial(&scene.broker, alpn, identity.as_ref()).await.unwrap();
        scene.closed(&connection, code, words).await;
    }
    // The library says the same, and does not try for ever.
    let json = stranger.credentials("till", scene.broker.listen(), &own);
    let credentials = Credentials::from_json(&json).unwrap();
    let error = within("an answer", Client::connect(&credentials)).await.err().unwrap();
    assert!(matches!(&error, ConnectError::Refused { .. }), "{error}");
    assert!(error.to_string().contains(&fingerprint), "{error}");
    let json = own.credentials("till", scene.broker.listen(), &own);
    let till = Client::connect(&Credentials::from_json(&json).unwrap()).await.unwrap();
    assert_eq!(till.welcome().principal, "till");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_of_another_ca_is_told_so_on_both_sides() {
    let mut scene = Scene::new().await;
    let world = World::new();
    let foreign = world.broker("jfk").peer("ewr", scene.broker.listen()).start();
    let problem = until("the reason on the page of peers", || {
        let (_, page) = http::get(foreign.admin(), "/api/v1/peers");
        let page: serde_json::Value = serde_json::from_str(&page).unwrap();
        page["peers"][0]["problem"].as_str().map(str::to_owned)
    })
    .await;
    let theirs = Authority::of(scene.broker.ca()).fingerprint();
    assert!(problem.contains("unknown authority") && problem.contains(&theirs), "{problem}");
    scene.bystander.goes_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_cannot_start_says_why_and_harms_nobody() {
    let mut scene = Scene::new().await;
    let world = World::new();
    let broker = &scene.broker;
    let local_json = std::fs::read(broker.data().join("local.json")).unwrap();
    let cases = [
        (
            world.broker("other").data(broker.data().to_owned()).ca(broker.ca().to_owned()),
            vec![broker.data_arg()],
        ),
        (world.broker("other").listen(broker.listen()), vec![broker.listen().to_string(), "--listen".into()]),
        (world.broker("other").admin(broker.admin()), vec![broker.admin().to_string(), "--admin".into()]),
        (world.broker("a b"), vec!["a b".into(), "name".into()]),
        (world.broker("other").peer("other", free_address()), vec!["other".into(), "own name".into()]),
    ];
    for (spec, words) in cases {
        let finished = spec.fail();
        assert!(matches!(finished.code, Some(1 | 2)), "{finished:?}");
        assert_eq!(finished.stdout, [""; 0], "no ready line");
        for word in words {
            assert!(finished.stderr.contains(&word), "{:?} lacks {word:?}", finished.stderr);
        }
    }
    assert_eq!(
        std::fs::read(broker.data().join("local.json")).unwrap(),
        local_json,
        "the owner's file is as it was"
    );
    scene.bystander.goes_on().await;
}
