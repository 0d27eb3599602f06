//! A small broker in this process: it speaks the frames of a home, stores in memory, routes every
//! event to every subscription, and does what a test tells it to: refuse, lose, forget, hold back.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use fanal_protocol::control::*;
use fanal_protocol::event::{StreamFrame, TopicRef};
use fanal_protocol::receipt::ReceiptRuns;
use fanal_protocol::stream::{Aliases, EventStreamWriter, Origin, Outgoing};
use fanal_protocol::{Class, Code, Control, Epoch, Fingerprint, Incarnation, PublisherId, frame, tls};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;

/// An event as the broker stored it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) topic: Arc<str>,
    pub(crate) origin: Arc<Origin>,
    pub(crate) sequence: u64,
    pub(crate) class: Class,
    pub(crate) body: Bytes,
}

impl Stored {
    pub(crate) fn payload(&self) -> Bytes {
        fanal_protocol::Body::parse(self.body.clone()).unwrap().payload()
    }
}

/// A durable subscription.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    pub(crate) entries: Vec<Stored>,
    pub(crate) acked: BTreeMap<u64, ()>,
    pub(crate) attempts: HashMap<u64, u32>,
}

struct Sub {
    connection: usize,
    channel: u32,
    durable: Option<String>,
    /// Durable: next mailbox sequence (from 1).
    next: u64,
    live: VecDeque<Stored>,
    sent: (u64, u64),
    credit: (u64, u64),
}

#[derive(Default)]
struct Opened {
    next: u64,
}

/// What tests look at and change.
#[derive(Default)]
pub(crate) struct State {
    /// Everything accepted at least once, in order.
    pub(crate) log: Vec<Stored>,
    /// Best-effort events, in order.
    pub(crate) fleeting: u64,
    /// Answers to coming at-least-once sequences: taken one by one.
    pub(crate) refusals: HashMap<u64, VecDeque<(Code, Option<u64>)>>,
    /// Refuse every best-effort event that wants a receipt.
    pub(crate) refuse_best_effort: Option<Code>,
    /// Accept, but send no receipts.
    pub(crate) are_receipts_held: bool,
    /// Flush acks, but do not confirm them.
    pub(crate) are_acks_held: bool,
    /// Neither store nor look at stored events beyond counting.
    pub(crate) is_sink: bool,
    pub(crate) sink_count: u64,
    pub(crate) mailboxes: HashMap<String, Mailbox>,
    /// As `Welcome` gives it.
    pub(crate) incarnation: Incarnation,
    pub(crate) skips: Vec<(u64, u64)>,
    /// Answers to `Subscribe`.
    pub(crate) refuse_subscribe: Option<Refused>,
    pub(crate) hellos: u64,
    pub(crate) control_log: Vec<String>,
    /// Whether `Welcome` says that strict mode is known.
    pub(crate) strict: bool,
    /// What `Subscribe` asked for last: predicate, and predicate in strict mode.
    pub(crate) asked: (Option<String>, Option<String>),
    pub(crate) close_frames: Vec<Close>,
    pub(crate) body_bytes_max: u64,
    pub(crate) exceed_credit: bool,
    epochs: HashMap<Epoch, Opened>,
    epoch_counter: u64,
    /// One client at a time publishes here.
    channels: HashMap<u32, Epoch>,
    subs: Vec<Sub>,
    links: HashMap<usize, Arc<LinkOut>>,
    connections: HashMap<usize, quinn::Connection>,
    next_connection: usize,
}

#[derive(Default)]
struct LinkOut {
    control: Mutex<Vec<u8>>,
    wake_control: Notify,
    wake_events: Notify,
}

impl LinkOut {
    fn put(&self, frame: impl Into<Control>) {
        frame.into().encode(&mut self.control.lock().unwrap());
        self.wake_control.notify_one();
    }
}

/// The broker.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) authority: TestAuthority,
    endpoint: Mutex<Option<quinn::Endpoint>>,
}

pub(crate) struct TestAuthority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl TestAuthority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        TestAuthority { pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    pub(crate) fn leaf(&self, role: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.subject_alt_names = vec![SanType::URI(role.try_into().unwrap())];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    pub(crate) fn credentials(&self, address: &str, broker: &str) -> String {
        let (certificate, key) = self.leaf("fanal://client/till");
        let json = serde_json::json!({
            "addresses": [address], "broker": broker, "ca": self.pem,
            "certificate": certificate.pem(), "key": key.serialize_pem(),
        });
        json.to_string()
    }
}

pub(crate) fn server_config(authority: &TestAuthority, role: &str, alpn: &[u8]) -> quinn::ServerConfig {
    let (certificate, key) = authority.leaf(role);
    let key = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(Arc::new(tls::ProveKeyOnly))
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(config).unwrap();
    quinn::ServerConfig::with_crypto(Arc::new(crypto))
}

impl Broker {
    pub(crate) fn start() -> Broker {
        let authority = TestAuthority::new();
        let config = server_config(&authority, "fanal://broker/ewr", b"fanal/1");
        let endpoint = quinn::Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let state = State { body_bytes_max: 1024 * 1024, ..Default::default() };
        let broker = Broker {
            address: endpoint.local_addr().unwrap(),
            state: Arc::new(Mutex::new(state)),
            authority,
            endpoint: Mutex::new(Some(endpoint)),
        };
        broker.accept();
        broker
    }

    fn accept(&self) {
        let Some(endpoint) = self.endpoint.lock().unwrap().clone() else { return };
        let state = Arc::clone(&self.state);
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        serve(state, connection).await;
                    }
                });
            }
        });
    }

    /// Lets go of the socket, after the runtime was shut down: no packet goes out, as after kill -9.
    pub(crate) fn vanish(&self) {
        *self.endpoint.lock().unwrap() = None;
        let mut state = self.state();
        state.connections.clear();
        state.links.clear();
        state.subs.clear();
    }

    /// Another process listens on the port.
    pub(crate) fn reappear(&self) {
        let config = server_config(&self.authority, "fanal://broker/ewr", b"fanal/1");
        *self.endpoint.lock().unwrap() = Some(quinn::Endpoint::server(config, self.address).unwrap());
        self.accept();
    }

    pub(crate) fn credentials(&self) -> fanal_client::Credentials {
        let json = self.authority.credentials(&self.address.to_string(), "ewr");
        fanal_client::Credentials::from_json(&json).unwrap()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Loses all connections, as a crash would.
    pub(crate) fn kick(&self, code: u32, reason: &str) {
        let connections: Vec<_> = self.state().connections.values().cloned().collect();
        connections.iter().for_each(|connection| connection.close(code.into(), reason.as_bytes()));
    }

    /// Forgets every epoch.
    pub(crate) fn forget_epochs(&self) {
        self.state().epochs.clear();
    }

    /// Ends the channel of a durable subscription.
    pub(crate) fn take_over(&self, name: &str) {
        let mut state = self.state();
        let Some(at) = state.subs.iter().position(|sub| sub.durable.as_deref() == Some(name)) else { return };
        let sub = state.subs.remove(at);
        state.links[&sub.connection].put(ChannelClosed {
            channel: sub.channel,
            code: 409,
            name: "taken_over".into(),
            reason: "another program attached to it".into(),
        });
    }

    /// Stores an event in a mailbox, as if another client had published it.
    pub(crate) fn deposit(&self, name: &str, topic: &str, payload: &[u8]) {
        let mut state = self.state();
        let stored = made(topic, payload, state.log.len() as u64 + 1);
        state.mailboxes.entry(name.into()).or_default().entries.push(stored);
        state.links.values().for_each(|link| link.wake_events.notify_one());
    }

    /// Sends events to the live subscriptions.
    pub(crate) fn send_live(&self, topic: &str, payload: &[u8], count: u64) {
        let mut state = self.state();
        let stored = made(topic, payload, 1);
        for sub in state.subs.iter_mut().filter(|sub| sub.durable.is_none()) {
            for n in 0..count {
                sub.live.push_back(Stored { sequence: n + 1, ..stored.clone() });
            }
        }
        state.links.values().for_each(|link| link.wake_events.notify_one());
    }

    /// Says something on every connection.
    pub(crate) fn put(&self, frame: impl Into<Control>) {
        let frame = frame.into();
        self.state().links.values().for_each(|link| link.put(frame.clone()));
    }

    pub(crate) fn subscriptions(&self) -> usize {
        self.state().subs.len()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(endpoint) = &*self.endpoint.lock().unwrap() {
            endpoint.close(0u32.into(), b"test over");
        }
    }
}

fn made(topic: &str, payload: &[u8], sequence: u64) -> Stored {
    let publisher = PublisherId { name: "other".into(), authority: Fingerprint([7; 32]) };
    let origin = Arc::new(Origin { publisher, epoch: Epoch { counter: 1, ..Default::default() } });
    let body = fanal_protocol::BodyBuilder::new().payload(payload.to_vec()).build().unwrap();
    Stored { topic: topic.into(), origin, sequence, class: Class::AtLeastOnce, body: body.bytes().clone() }
}

async fn serve(state: Arc<Mutex<State>>, connection: quinn::Connection) {
    let Ok((control, mut answers)) = connection.accept_bi().await else { return };
    let link = Arc::new(LinkOut::default());
    let number = {
        let mut state = state.lock().unwrap();
        state.next_connection += 1;
        let number = state.next_connection;
        state.links.insert(number, Arc::clone(&link));
        state.connections.insert(number, connection.clone());
        number
    };
    let tasks = [
        tokio::spawn(write_control(Arc::clone(&link), control)),
        tokio::spawn(write_events(Arc::clone(&state), Arc::clone(&link), connection.clone(), number)),
        tokio::spawn(accept_publishes(Arc::clone(&state), Arc::clone(&link), connection.clone())),
    ];
    let mut buffer = BytesMut::new();
    while answers.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
        while let Some(block) = frame::take_whole(&mut buffer, 1 << 20).unwrap() {
            for range in frame::frames(&block) {
                let frame = Control::decode(&block[range]).unwrap();
                on_control(&mut state.lock().unwrap(), &link, number, frame);
            }
        }
    }
    connection.closed().await;
    tasks.iter().for_each(|task| task.abort());
    let mut state = state.lock().unwrap();
    state.subs.retain(|sub| sub.connection != number);
    state.links.remove(&number);
    state.connections.remove(&number);
}

async fn write_control(link: Arc<LinkOut>, mut stream: quinn::SendStream) {
    loop {
        let out = std::mem::take(&mut *link.control.lock().unwrap());
        if out.is_empty() {
            link.wake_control.notified().await;
        } else if stream.write_all(&out).await.is_err() {
            return;
        }
    }
}

fn on_control(state: &mut State, link: &Arc<LinkOut>, number: usize, frame: Control) {
    state.control_log.push(frame.name().to_owned());
    match frame {
        Control::Hello(_) => {
            state.hellos += 1;
            link.put(Welcome {
                version: 1,
                broker: "ewr".into(),
                principal: "till".into(),
                body_bytes_max: state.body_bytes_max,
                strict: state.strict,
                incarnation: state.incarnation,
                ..Default::default()
            });
        }
        Control::OpenPublish(open) => on_open(state, link, &open),
        Control::Subscribe(subscribe) => on_subscribe(state, link, number, subscribe),
        Control::Credit(credit) => {
            if let Some(sub) = state.sub(number, credit.channel) {
                sub.credit = (credit.events, credit.bytes);
            }
            link.wake_events.notify_one();
        }
        Control::Ack(ack) => {
            let Some(name) = state.sub(number, ack.channel).and_then(|sub| sub.durable.clone()) else {
                return;
            };
            let mailbox = state.mailboxes.entry(name).or_default();
            for &(start, end) in &ack.ranges {
                mailbox.acked.extend((start..=end).map(|sequence| (sequence, ())));
            }
            if !state.are_acks_held {
                link.put(Acked { channel: ack.channel, ranges: ack.ranges });
            }
        }
        Control::Detach(detach) => {
            state.subs.retain(|sub| (sub.connection, sub.channel) != (number, detach.channel));
        }
        Control::Query(query) if query.page == "status" => {
            link.put(Answer { request: query.request, json: "{\"ok\":true}".into() });
        }
        Control::Query(query) => link.put(Refused {
            request: query.request,
            code: 404,
            name: "no_page".into(),
            reason: format!("there is no page `{}`", query.page),
        }),
        Control::RemoveSubscription(remove) => {
            state.mailboxes.remove(&remove.durable);
            link.put(Done { request: remove.request });
        }
        Control::UpdateSubscription(update) => link.put(Done { request: update.request }),
        Control::Close(close) => state.close_frames.push(close),
        Control::ClosePublish(_) | Control::Pong(_) => {}
        other => panic!("a client sent {}", other.name()),
    }
}

fn on_open(state: &mut State, link: &Arc<LinkOut>, open: &OpenPublish) {
    let epoch = match open.resume {
        Some(epoch) if !state.epochs.contains_key(&epoch) => {
            link.put(Refused {
                request: open.channel,
                code: 410,
                name: "epoch_unknown".into(),
                reason: "this home does not know the epoch".into(),
            });
            return;
        }
        Some(epoch) => epoch,
        None => {
            state.epoch_counter += 1;
            let epoch = Epoch { counter: state.epoch_counter, ..Default::default() };
            state.epochs.insert(epoch, Opened { next: 1 });
            epoch
        }
    };
    link.put(PublishOpened { channel: open.channel, epoch, next: state.epochs[&epoch].next });
    state.channels.insert(open.channel, epoch);
}

fn on_subscribe(state: &mut State, link: &Arc<LinkOut>, number: usize, subscribe: Subscribe) {
    if let Some(refused) = &state.refuse_subscribe {
        link.put(Refused { request: subscribe.channel, ..refused.clone() });
        return;
    }
    state.asked = (subscribe.predicate, subscribe.strict);
    let durable = subscribe.durable.clone();
    let resumed = durable.as_ref().is_some_and(|name| state.mailboxes.contains_key(name));
    let mut next = 1;
    if let Some(name) = &durable {
        let mailbox = state.mailboxes.entry(name.clone()).or_default();
        while mailbox.acked.contains_key(&next) {
            next += 1;
        }
        state.subs.retain(|sub| sub.durable != durable);
    }
    state.subs.push(Sub {
        connection: number,
        channel: subscribe.channel,
        durable,
        next,
        live: VecDeque::new(),
        sent: (0, 0),
        credit: (subscribe.credit_events, subscribe.credit_bytes),
    });
    link.wake_events.notify_one();
    link.put(Subscribed {
        channel: subscribe.channel,
        home: "ewr".into(),
        installed: vec!["ewr".into()],
        pending: vec![Pending { broker: "jfk".into(), reason: "dialling".into() }],
        resumed,
    });
}

impl State {
    fn sub(&mut self, connection: usize, channel: u32) -> Option<&mut Sub> {
        self.subs.iter_mut().find(|sub| (sub.connection, sub.channel) == (connection, channel))
    }
}

async fn accept_publishes(state: Arc<Mutex<State>>, link: Arc<LinkOut>, connection: quinn::Connection) {
    while let Ok(mut stream) = connection.accept_uni().await {
        let (state, link) = (Arc::clone(&state), Arc::clone(&link));
        tokio::spawn(async move {
            let mut topics: Aliases<Arc<str>> = Aliases::new("topic");
            let mut buffer = BytesMut::with_capacity(1 << 18);
            while stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
                while let Some(block) = frame::take_whole(&mut buffer, 1 << 21).unwrap() {
                    on_publishes(&mut state.lock().unwrap(), &link, &mut topics, &block);
                }
                buffer.reserve(1 << 18);
            }
        });
    }
}

fn on_publishes(state: &mut State, link: &Arc<LinkOut>, topics: &mut Aliases<Arc<str>>, block: &Bytes) {
    let mut runs = ReceiptRuns::default();
    for range in frame::frames(block) {
        let start = range.start;
        match StreamFrame::decode(&block[range]).unwrap() {
            StreamFrame::Topic(alias) => topics.define(alias.alias, alias.topic.into()).unwrap(),
            StreamFrame::Publish(header, body) => {
                let body = block.slice(start + body.start..start + body.end);
                let TopicRef::Alias(alias) = header.topic else { panic!("the client uses aliases") };
                let epoch = state.channels[&header.channel];
                let publisher = PublisherId { name: "till".into(), ..Default::default() };
                let (channel, sequence) = (header.channel, header.sequence);
                if header.class == Class::BestEffort {
                    state.fleeting += 1;
                    match state.refuse_best_effort {
                        Some(code) if header.wants_receipt => {
                            let reason = "refused by the test".into();
                            let exception =
                                Exception { sequence, code: code.number(), reason, retry_ms: None };
                            runs.push_refusal(channel, true, exception);
                        }
                        _ if header.wants_receipt => runs.push(channel, true, sequence, Code::Accepted, 0),
                        _ => {}
                    }
                    continue;
                }
                if state.is_sink {
                    state.sink_count += 1;
                    state.epochs.get_mut(&epoch).unwrap().next = sequence + 1;
                    runs.push(channel, false, sequence, Code::Durable, 0);
                    continue;
                }
                let topic = Arc::clone(topics.get(alias).unwrap());
                let origin = Arc::new(Origin { publisher, epoch });
                let stored = Stored { topic, origin, sequence, class: header.class, body };
                state.on_publish(&mut runs, channel, epoch, stored);
            }
            StreamFrame::Skip(skip) => {
                state.skips.push((skip.from, skip.through));
                let epoch = state.channels[&skip.channel];
                let opened = state.epochs.get_mut(&epoch).unwrap();
                if skip.from <= opened.next {
                    opened.next = opened.next.max(skip.through + 1);
                }
            }
            StreamFrame::Open(_) => {}
            other => panic!("a client sent {other:?}"),
        }
    }
    if !state.are_receipts_held {
        runs.drain().into_iter().for_each(|receipts| link.put(receipts));
    }
    state.links.values().for_each(|link| link.wake_events.notify_one());
}

impl State {
    fn on_publish(&mut self, runs: &mut ReceiptRuns, channel: u32, epoch: Epoch, stored: Stored) {
        let sequence = stored.sequence;
        let next = self.epochs[&epoch].next;
        let mut refuse = |code: Code, retry_ms| {
            let reason = "refused by the test".into();
            runs.push_refusal(channel, false, Exception { sequence, code: code.number(), reason, retry_ms });
        };
        if sequence > next {
            return refuse(Code::Blocked, None);
        }
        if sequence < next {
            return runs.push(channel, false, sequence, Code::Duplicate, 0);
        }
        if let Some((code, retry_ms)) = self.refusals.get_mut(&sequence).and_then(VecDeque::pop_front) {
            return refuse(code, retry_ms);
        }
        if let Some(opened) = self.epochs.get_mut(&epoch) {
            opened.next += 1;
        }
        runs.push(channel, false, sequence, Code::Durable, self.mailboxes.len() as u64);
        self.mailboxes.values_mut().for_each(|mailbox| mailbox.entries.push(stored.clone()));
        for sub in self.subs.iter_mut().filter(|sub| sub.durable.is_none()) {
            sub.live.push_back(stored.clone());
        }
        self.log.push(stored);
    }

    /// Appends what a connection's subscriptions of one kind may get now.
    fn encode(
        &mut self,
        connection: usize,
        is_durable: bool,
        writer: &mut EventStreamWriter,
        out: &mut Vec<u8>,
    ) {
        let exceed = self.exceed_credit;
        let State { subs, mailboxes, .. } = self;
        let mine = |sub: &&mut Sub| sub.connection == connection && sub.durable.is_some() == is_durable;
        for sub in subs.iter_mut().filter(mine) {
            while out.len() < 1 << 16 && (exceed || (sub.sent.0 < sub.credit.0 && sub.sent.1 < sub.credit.1))
            {
                let (stored, mailbox_sequence, attempt) = match &sub.durable {
                    None => match sub.live.pop_front() {
                        Some(stored) => (stored, None, None),
                        None => break,
                    },
                    Some(name) => {
                        let Some(mailbox) = mailboxes.get_mut(name) else { break };
                        let at = sub.next;
                        let Some(stored) = mailbox.entries.get(at as usize - 1) else { break };
                        sub.next += 1;
                        if mailbox.acked.contains_key(&at) {
                            continue;
                        }
                        let attempt = mailbox.attempts.entry(at).or_insert(0);
                        *attempt += 1;
                        (stored.clone(), Some(at), (*attempt > 1).then_some(*attempt))
                    }
                };
                let event = Outgoing {
                    channel: sub.channel,
                    class: stored.class,
                    topic: &stored.topic,
                    origin: &stored.origin,
                    sequence: stored.sequence,
                    accepted_at_ms: 1_000_000,
                    ttl_ms: None,
                    mailbox_sequence,
                    attempt,
                };
                writer.event_head(&event, stored.body.len(), out);
                out.extend_from_slice(&stored.body);
                sub.sent = (sub.sent.0 + 1, sub.sent.1 + stored.body.len() as u64);
            }
        }
    }
}

async fn write_events(
    state: Arc<Mutex<State>>,
    link: Arc<LinkOut>,
    connection: quinn::Connection,
    number: usize,
) {
    let (Ok(mut durable), Ok(mut live)) = (connection.open_uni().await, connection.open_uni().await) else {
        return;
    };
    let (mut out_durable, mut out_live) = (Vec::new(), Vec::new());
    let mut durable_writer = EventStreamWriter::open(STREAM_DURABLE, &mut out_durable);
    let mut live_writer = EventStreamWriter::open(STREAM_LIVE, &mut out_live);
    loop {
        {
            let mut state = state.lock().unwrap();
            state.encode(number, true, &mut durable_writer, &mut out_durable);
            state.encode(number, false, &mut live_writer, &mut out_live);
        }
        if out_durable.is_empty() && out_live.is_empty() {
            link.wake_events.notified().await;
        }
        if durable.write_all(&out_durable).await.is_err() || live.write_all(&out_live).await.is_err() {
            return;
        }
        out_durable.clear();
        out_live.clear();
    }
}
