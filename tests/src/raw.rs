//! A client without manners: frames by hand over QUIC, for what the library never does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use fanal_protocol::control::*;
use fanal_protocol::event::{PublishHeader, StreamFrame, TopicRef};
use fanal_protocol::receipt::each;
use fanal_protocol::stream::{EventStreamReader, Origin};
use fanal_protocol::tls::{self, ExpectBroker};
use fanal_protocol::{
    ALPN_CLIENT, BodyBuilder, BodyView, CONTROL_FRAME_BYTES_MAX, Class, ClientId, Control, PROTOCOL_VERSION,
    frame,
};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use tokio::sync::mpsc;

use crate::authority::{Authority, Identity};
use crate::broker::{Broker, loopback};
use crate::wait::within;

/// Events that wait for the test to look at them.
const EVENTS_MAX: usize = 1 << 16;
/// Credit without end.
pub const PLENTY: u64 = 1 << 40;

/// Shakes hands; the connection may still be refused afterwards.
///
/// # Errors
/// Why the handshake failed.
pub async fn dial(
    broker: &Broker,
    alpn: &[u8],
    identity: Option<&Identity>,
) -> Result<Connection, ConnectionError> {
    let authority = Authority::of(broker.ca());
    dial_address(broker.listen(), &authority, alpn, identity).await
}

async fn dial_address(
    address: SocketAddr,
    authority: &Authority,
    alpn: &[u8],
    identity: Option<&Identity>,
) -> Result<Connection, ConnectionError> {
    let endpoint = Endpoint::client(loopback(0)).expect("a socket");
    let known = vec![tls::Authority::new(authority.certificate())];
    let config = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(ExpectBroker::new(known, None));
    let mut config = match identity {
        Some(Identity { chain, key }) => {
            config.with_client_auth_cert(chain.clone(), key.clone_key()).expect("a usable certificate")
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    let crypto = QuicClientConfig::try_from(config).expect("a QUIC suite");
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(config, address, "fanal").expect("an address");
    within("a handshake", connecting).await
}

/// Waits until the broker closes a connection; code and reason that it gives.
///
/// # Panics
/// When it ends otherwise.
pub async fn refusal(connection: &Connection) -> (u64, String) {
    match within("the broker closing the connection", connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => {
            (close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned())
        }
        other => panic!("the connection ended with {other:?}"),
    }
}

/// An attached client.
pub struct Raw {
    /// The connection.
    pub connection: Connection,
    control: SendStream,
    answers: RecvStream,
    buffer: BytesMut,
    ready: VecDeque<Control>,
    /// What the broker said first.
    pub welcome: Welcome,
}

impl Raw {
    /// Attaches with the credentials of the broker's machine.
    pub async fn attach(broker: &Broker) -> Raw {
        Raw::attach_as(broker, &Identity::local(broker.data())).await
    }

    /// Attaches as somebody.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn attach_as(broker: &Broker, identity: &Identity) -> Raw {
        Raw::attach_with(broker, identity, Hello::default()).await
    }

    /// Attaches as one of the connections of a client.
    pub async fn attach_again(broker: &Broker, client: ClientId, connection: u64) -> Raw {
        let hello = Hello { client, connection, ..Hello::default() };
        Raw::attach_with(broker, &Identity::local(broker.data()), hello).await
    }

    async fn attach_with(broker: &Broker, identity: &Identity, hello: Hello) -> Raw {
        let connection = dial(broker, ALPN_CLIENT, Some(identity)).await.expect("a handshake");
        let (control, answers) = connection.open_bi().await.expect("a stream");
        let welcome = Welcome::default();
        let (buffer, ready) = Default::default();
        let mut raw = Raw { connection, control, answers, buffer, ready, welcome };
        raw.send(Hello { versions: vec![PROTOCOL_VERSION], agent: "fanal-tests".into(), ..hello }).await;
        raw.welcome = match raw.next().await {
            Control::Welcome(welcome) => welcome,
            other => panic!("{other:?} instead of Welcome"),
        };
        raw
    }

    /// Sends a control frame.
    pub async fn send(&mut self, frame: impl Into<Control>) {
        let mut bytes = Vec::new();
        frame.into().encode(&mut bytes);
        self.send_bytes(&bytes).await;
    }

    /// Sends bytes on the control stream. Whether the broker takes them is seen elsewhere.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = within("room on the control stream", self.control.write_all(bytes)).await;
    }

    /// The control stream, to write to by hand.
    pub fn control(&mut self) -> &mut SendStream {
        &mut self.control
    }

    /// The next control frame.
    ///
    /// # Panics
    /// When the connection ends first.
    pub async fn next(&mut self) -> Control {
        within("a control frame", self.read_frame()).await
    }

    async fn read_frame(&mut self) -> Control {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return frame;
            }
            let block = frame::take_whole(&mut self.buffer, CONTROL_FRAME_BYTES_MAX).expect("a frame");
            if let Some(block) = block {
                let decode = |range| Control::decode(&block[range]).expect("a known frame");
                self.ready.extend(frame::frames(&block).map(decode));
                continue;
            }
            match self.answers.read_chunk(64 * 1024, true).await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk.bytes),
                end => panic!("the control stream ended: {end:?}, {:?}", self.connection.close_reason()),
            }
        }
    }

    /// Reads control frames until one is what is looked for; the others are let go.
    pub async fn expect<T>(&mut self, mut pick: impl FnMut(Control) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().await) {
                return found;
            }
        }
    }

    /// Subscribes; the receipt or the refusal.
    pub async fn subscribe(&mut self, request: Subscribe) -> Result<Subscribed, Refused> {
        let number = request.channel;
        self.send(request).await;
        self.expect(|frame| match frame {
            Control::Subscribed(receipt) if receipt.channel == number => Some(Ok(receipt)),
            Control::Refused(refused) if refused.request == number => Some(Err(refused)),
            _ => None,
        })
        .await
    }

    /// Opens or resumes a publish channel, and a stream for it.
    pub async fn publisher(
        &mut self,
        channel: u32,
        resume: Option<fanal_protocol::Epoch>,
    ) -> Result<RawPublisher, Refused> {
        self.send(OpenPublish { channel, resume }).await;
        let opened = self
            .expect(|frame| match frame {
                Control::PublishOpened(opened) if opened.channel == channel => Some(Ok(opened)),
                Control::Refused(refused) if refused.request == channel => Some(Err(refused)),
                _ => None,
            })
            .await?;
        let mut stream = self.connection.open_uni().await.expect("a stream");
        let mut bytes = Vec::new();
        StreamOpen { kind: STREAM_PUBLISH }.encode(&mut bytes);
        stream.write_all(&bytes).await.expect("an open stream");
        Ok(RawPublisher { stream, opened })
    }

    /// Waits for the receipts of so many at-least-once sequences: (sequence, code), as they come.
    pub async fn receipts(&mut self, count: usize) -> Vec<(u64, u16)> {
        let mut out = Vec::new();
        while out.len() < count {
            let found = self
                .expect(|frame| match frame {
                    Control::Receipts(receipts) if !receipts.best_effort => Some(receipts),
                    _ => None,
                })
                .await;
            out.extend(each(&found).map(|(sequence, code, _)| (sequence, code)));
        }
        out
    }

    /// Starts to read event streams; what comes waits in the receiver.
    pub fn events(&self) -> mpsc::Receiver<RawItem> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let connection = self.connection.clone();
        tokio::spawn(async move {
            while let Ok(stream) = connection.accept_uni().await {
                tokio::spawn(read_events(stream, sender.clone()));
            }
        });
        receiver
    }
}

/// A publish channel with its stream.
pub struct RawPublisher {
    /// To write to by hand.
    pub stream: SendStream,
    /// The broker's answer.
    pub opened: PublishOpened,
}

impl RawPublisher {
    /// Publishes at least once under a sequence, without looking whether that is wise.
    pub async fn publish(&mut self, sequence: u64, topic: &str, payload: &[u8]) {
        let header = PublishHeader {
            channel: self.opened.channel,
            class: Class::AtLeastOnce,
            topic: TopicRef::Text(topic),
            sequence,
            ttl_ms: None,
            wants_receipt: false,
        };
        let body = BodyBuilder::new().payload(payload.to_vec()).build().expect("a body");
        let (mut scratch, mut out) = (Vec::new(), Vec::new());
        header.encode(body.bytes(), &mut scratch, &mut out);
        self.write(&out).await;
    }

    /// Gives up sequences.
    pub async fn skip(&mut self, from: u64, through: u64) {
        let mut out = Vec::new();
        Skip { channel: self.opened.channel, from, through }.encode(&mut out);
        self.write(&out).await;
    }

    /// Writes bytes. Whether the broker takes them is seen elsewhere.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _ = within("room on the publish stream", self.stream.write_all(bytes)).await;
    }
}

/// What came on an event stream.
#[derive(Debug, Clone)]
pub enum RawItem {
    /// An event.
    Event(RawEvent),
    /// A gap.
    Gap(Gap),
}

/// An event as it came.
#[derive(Debug, Clone)]
pub struct RawEvent {
    /// Its subscription's channel.
    pub channel: u32,
    /// Its topic.
    pub topic: String,
    /// Who published it, and under which epoch.
    pub origin: Arc<Origin>,
    /// The publisher's sequence.
    pub sequence: u64,
    /// Durable copies: the number in the mailbox.
    pub mailbox_sequence: Option<u64>,
    /// From the second attempt on.
    pub attempt: Option<u32>,
    /// The payload.
    pub payload: Vec<u8>,
}

async fn read_events(mut stream: RecvStream, to: mpsc::Sender<RawItem>) {
    let mut buffer = BytesMut::new();
    let mut reader = EventStreamReader::<String>::default();
    while let Ok(Some(chunk)) = stream.read_chunk(256 * 1024, true).await {
        buffer.extend_from_slice(&chunk.bytes);
        while let Some(block) = frame::take_whole(&mut buffer, 2 << 20).expect("whole frames") {
            for range in frame::frames(&block) {
                if let Some(item) = decode(&mut reader, &block[range])
                    && to.send(item).await.is_err()
                {
                    return;
                }
            }
        }
    }
}

fn decode(reader: &mut EventStreamReader<String>, bytes: &[u8]) -> Option<RawItem> {
    match StreamFrame::decode(bytes).expect("a known frame") {
        StreamFrame::Topic(alias) => reader.on_topic(alias.alias, alias.topic).expect("a small alias"),
        StreamFrame::Publisher(alias) => reader.on_publisher(&alias).expect("a publisher"),
        StreamFrame::Clock(base) => reader.on_clock(base),
        StreamFrame::Gap(gap) => return Some(RawItem::Gap(gap)),
        StreamFrame::Event(header, body) => {
            let payload = BodyView::parse(&bytes[body]).expect("a body").payload.to_vec();
            let resolved = reader.resolve(&header).expect("defined aliases");
            return Some(RawItem::Event(RawEvent {
                channel: header.channel,
                topic: resolved.topic.clone(),
                origin: resolved.origin,
                sequence: resolved.sequence,
                mailbox_sequence: header.mailbox_sequence,
                attempt: header.attempt,
                payload,
            }));
        }
        _ => {}
    }
    None
}
