//! A peer without manners: the frames of a link by hand.

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::BytesMut;
use fanal_protocol::control::*;
use fanal_protocol::stream::{EventStreamWriter, Origin, Outgoing};
use fanal_protocol::{
    ALPN_PEER, BodyBuilder, CONTROL_FRAME_BYTES_MAX, Class, Control, Incarnation, PROTOCOL_VERSION,
    PublisherId, StoreId, frame,
};
use fanal_tests::authority::Authority;
use fanal_tests::broker::Broker;
use fanal_tests::raw;
use fanal_tests::wait::within;
use quinn::{Connection, RecvStream, SendStream};

/// See the module.
pub(crate) struct RawPeer {
    connection: Connection,
    control: SendStream,
    answers: RecvStream,
    buffer: BytesMut,
    ready: Vec<Control>,
    events: Option<(SendStream, EventStreamWriter)>,
    /// What the broker has recorded of this store.
    pub(crate) received_through: u64,
}

impl RawPeer {
    /// Dials as a broker of the CA, in a life of its store.
    pub(crate) async fn link(broker: &Broker, name: &str, start: u64) -> RawPeer {
        let identity = Authority::of(broker.ca()).issue(&format!("fanal://broker/{name}"));
        let connection = raw::dial(broker, ALPN_PEER, Some(&identity)).await.unwrap();
        let (control, answers) = connection.open_bi().await.unwrap();
        let (buffer, ready, events) = Default::default();
        let mut peer = RawPeer { connection, control, answers, buffer, ready, events, received_through: 0 };
        let incarnation = Incarnation { store: StoreId([7; 16]), recovery_epoch: 0, start };
        peer.send(PeerHello { versions: vec![PROTOCOL_VERSION], agent: "fanal-tests".into(), incarnation })
            .await;
        peer.send(PeerReady { version: PROTOCOL_VERSION, received_through: 0, body_bytes_max: 1 << 20 })
            .await;
        peer.received_through = peer
            .expect(|frame| match frame {
                Control::PeerReady(ready) => Some(ready.received_through),
                _ => None,
            })
            .await;
        peer
    }

    async fn send(&mut self, frame: impl Into<Control>) {
        let mut bytes = Vec::new();
        frame.into().encode(&mut bytes);
        self.write_control(&bytes).await;
    }

    /// Writes bytes to the control stream.
    pub(crate) async fn write_control(&mut self, bytes: &[u8]) {
        let _ = within("room", self.control.write_all(bytes)).await;
    }

    /// Writes bytes to the stream of the durable path.
    pub(crate) async fn write_events(&mut self, bytes: &[u8]) {
        self.open_events().await;
        let (stream, _) = self.events.as_mut().unwrap();
        let _ = within("room", stream.write_all(bytes)).await;
    }

    async fn open_events(&mut self) {
        if self.events.is_none() {
            let mut stream = self.connection.open_uni().await.unwrap();
            let mut bytes = Vec::new();
            let writer = EventStreamWriter::open(STREAM_DURABLE, &mut bytes);
            stream.write_all(&bytes).await.unwrap();
            self.events = Some((stream, writer));
        }
    }

    /// Sends events `xN` under mailbox sequences N.
    pub(crate) async fn send_events(&mut self, sequences: RangeInclusive<u64>) {
        self.open_events().await;
        let topic: Arc<str> = "t".into();
        let publisher = PublisherId { name: "till".into(), authority: Default::default() };
        let origin = Arc::new(Origin { publisher, epoch: Default::default() });
        let mut bytes = Vec::new();
        let (_, writer) = self.events.as_mut().unwrap();
        for sequence in sequences {
            let body = BodyBuilder::new().payload(format!("x{sequence}")).build().unwrap();
            let event = Outgoing {
                channel: 0,
                class: Class::AtLeastOnce,
                topic: &topic,
                origin: &origin,
                sequence,
                accepted_at_ms: 1_700_000_000_000,
                ttl_ms: None,
                mailbox_sequence: Some(sequence),
                attempt: None,
            };
            writer.event_head(&event, body.bytes().len(), &mut bytes);
            bytes.extend_from_slice(body.bytes());
        }
        self.write_events(&bytes).await;
    }

    /// Waits until the broker has acked at least so far; what it acked.
    pub(crate) async fn hop_ack(&mut self, through: u64) -> u64 {
        self.expect(|frame| match frame {
            Control::HopAck(ack) if ack.through >= through => Some(ack.through),
            _ => None,
        })
        .await
    }

    /// Waits for an ask of the broker.
    pub(crate) async fn asked(&mut self) -> InterestEntry {
        self.expect(|frame| match frame {
            Control::InterestSnapshot(InterestSnapshot { mut entries, .. })
            | Control::InterestDelta(InterestDelta { add: mut entries, .. }) => entries.pop(),
            _ => None,
        })
        .await
    }

    /// Waits until the broker closes the link; code and reason.
    pub(crate) async fn refusal(&self) -> (u64, String) {
        raw::refusal(&self.connection).await
    }

    async fn expect<T>(&mut self, mut pick: impl FnMut(Control) -> Option<T>) -> T {
        loop {
            while !self.ready.is_empty() {
                if let Some(found) = pick(self.ready.remove(0)) {
                    return found;
                }
            }
            if let Some(block) = frame::take_whole(&mut self.buffer, CONTROL_FRAME_BYTES_MAX).unwrap() {
                let decode = |range| Control::decode(&block[range]).unwrap();
                self.ready.extend(frame::frames(&block).map(decode));
                continue;
            }
            match within("a control frame", self.answers.read_chunk(64 * 1024, true)).await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk.bytes),
                end => panic!("the control stream ended: {end:?}, {:?}", self.connection.close_reason()),
            }
        }
    }
}
