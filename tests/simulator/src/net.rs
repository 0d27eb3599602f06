//! Simulated connections: lanes of bytes in order, that may be slow, stall, be cut, or be left.
//!
//! Invariants:
//! 1. Within a lane of one direction nothing overtakes; lanes overtake each other.
//! 2. What was sent before a side closed or left may still arrive until the other side learns of
//!    it; what was under way when a connection was cut does not.
//! 3. Each side learns of the end once, at a time of its own.

use bytes::Bytes;

use crate::context::{Context, Happening};

/// Number of a connection.
pub(crate) type ConnId = usize;

/// Who is at an end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Party {
    /// A broker.
    Broker(usize),
    /// A publisher.
    Publisher(usize),
    /// A subscriber.
    Subscriber(usize),
}

/// A stream of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Control frames.
    Control,
    /// Durable copies, or a publish stream.
    Durable,
    /// Live copies.
    Live,
}

struct Conn {
    ends: [Party; 2],
    holds: [bool; 2],
    is_cut: bool,
    last: [[u64; 3]; 2],
    stalled_until: [u64; 2],
    under_way: u64,
}

/// All connections of a world.
pub(crate) struct Net {
    conns: Vec<Conn>,
    latency_us_max: u64,
}

impl Net {
    /// No connections yet; no block takes much longer than `latency_us_max`.
    pub(crate) fn new(latency_us_max: u64) -> Self {
        Net { conns: Vec::new(), latency_us_max }
    }

    /// Whether nothing is under way to anybody who would take it.
    pub(crate) fn is_still(&self) -> bool {
        let takes = |conn: &&Conn| !conn.is_cut && conn.holds != [false, false];
        self.conns.iter().filter(takes).all(|conn| conn.under_way == 0)
    }

    /// Who is at an end.
    pub(crate) fn end(&self, conn: ConnId, side: usize) -> Party {
        self.conns[conn].ends[side]
    }

    /// Whether a side still holds its end.
    pub(crate) fn holds(&self, conn: ConnId, side: usize) -> bool {
        self.conns[conn].holds[side]
    }

    /// Whether bytes still arrive at a side.
    pub(crate) fn arrives(&mut self, conn: ConnId, side: usize) -> bool {
        let conn = &mut self.conns[conn];
        conn.under_way = conn.under_way.saturating_sub(1);
        conn.holds[side] && !conn.is_cut
    }

    /// Connections that both sides hold.
    pub(crate) fn open(&self) -> impl Iterator<Item = (ConnId, [Party; 2])> + '_ {
        let is_open = |conn: &Conn| conn.holds == [true, true] && !conn.is_cut;
        self.conns.iter().enumerate().filter(move |(_, conn)| is_open(conn)).map(|(id, conn)| (id, conn.ends))
    }

    /// Nothing arrives at the other side from `side` before `until_us`.
    pub(crate) fn stall(&mut self, conn: ConnId, side: usize, until_us: u64) {
        let slot = &mut self.conns[conn].stalled_until[side];
        *slot = (*slot).max(until_us);
    }
}

impl Context {
    /// Opens a connection from side 0 to side 1; the other side learns of it later.
    pub(crate) fn connect(&mut self, from: Party, to: Party) -> ConnId {
        let id = self.net.conns.len();
        self.net.conns.push(Conn {
            ends: [from, to],
            holds: [true, true],
            is_cut: false,
            last: [[0; 3]; 2],
            stalled_until: [0; 2],
            under_way: 0,
        });
        let at = self.now_us + self.latency_us();
        self.net.conns[id].last = [[at; 3]; 2];
        self.after(at - self.now_us, Happening::Opened { conn: id });
        id
    }

    fn latency_us(&mut self) -> u64 {
        let max = self.net.latency_us_max;
        200 + self.random.below(max)
    }

    /// Sends a block from a side.
    pub(crate) fn send(&mut self, conn: ConnId, side: usize, lane: Lane, bytes: Vec<u8>) {
        let arrives = self.now_us + self.latency_us();
        let state = &mut self.net.conns[conn];
        if !state.holds[side] || state.is_cut || bytes.is_empty() {
            return;
        }
        let last = &mut state.last[side][lane as usize];
        *last = arrives.max(*last).max(state.stalled_until[side]);
        let at = *last;
        state.under_way += 1;
        let block = Happening::Arrived { conn, side: 1 - side, lane, bytes: Bytes::from(bytes) };
        self.after(at - self.now_us, block);
    }

    /// A side closes; the other learns of it after what is under way now, at the soonest.
    pub(crate) fn close(&mut self, conn: ConnId, side: usize) {
        let delay = self.latency_us();
        self.end(conn, side, delay);
    }

    /// A side goes without a word: the other finds out much later, if it does not try to reach it.
    pub(crate) fn leave(&mut self, conn: ConnId, side: usize) {
        let delay = self.random.between(1_000, 3_000_000);
        self.end(conn, side, delay);
    }

    fn end(&mut self, conn: ConnId, side: usize, delay_us: u64) {
        let state = &mut self.net.conns[conn];
        if std::mem::take(&mut state.holds[side]) && state.holds[1 - side] {
            if state.under_way > 0 {
                self.count(crate::count::Count::LeftUnderWay);
            }
            self.after(delay_us, Happening::Ended { conn, side: 1 - side });
        }
    }

    /// The path is gone; each side finds out at a time of its own.
    pub(crate) fn cut(&mut self, conn: ConnId) {
        self.net.conns[conn].is_cut = true;
        for side in 0..2 {
            if self.net.conns[conn].holds[side] {
                let delay = self.random.between(1_000, 3_000_000);
                self.after(delay, Happening::Ended { conn, side });
            }
        }
    }

    /// A side learns of the end: whether it still held its end.
    pub(crate) fn learns_of_end(&mut self, conn: ConnId, side: usize) -> bool {
        std::mem::take(&mut self.net.conns[conn].holds[side])
    }
}
