"""The frames of event streams that are not maps: clock, publish, event (PROTOCOL.md 5.2 to 5.4).

1. They hold what is on the wire: aliases and deltas. `streams` makes sense of those.
2. The body is the rest of the frame, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from .errors import Malformed
from .records import STREAM, Frame
from .wire import Reader, pack


@dataclass(frozen=True)
class Clock(Frame):
    """The base of the acceptance times behind it, in milliseconds since the Unix epoch (5.2)."""

    TYPE: ClassVar[int] = 51
    base_ms: int

    def payload(self) -> bytes:
        return pack(self.TYPE) + pack(self.base_ms)

    @classmethod
    def from_reader(cls, reader: Reader) -> Clock:
        """The integer behind the type, and nothing behind it."""
        clock = cls(reader.uint())
        if not reader.is_at_end:
            raise Malformed("bytes after the clock")
        return clock


BEST_EFFORT: Final = 1
HAS_TTL: Final = 2
WANTS_RECEIPT: Final = 4
HAS_MAILBOX_SEQUENCE: Final = 8
HAS_ATTEMPT: Final = 16


@dataclass(frozen=True)
class Publish(Frame):
    """One event of a publisher (5.3). `topic` is an alias or the topic itself."""

    TYPE: ClassVar[int] = 52
    channel: int
    topic: int | str
    sequence: int
    body: bytes
    best_effort: bool = False
    wants_receipt: bool = False
    ttl_ms: int | None = None

    @property
    def flags(self) -> int:
        """The flag bits."""
        ttl = HAS_TTL if self.ttl_ms is not None else 0
        return self.best_effort * BEST_EFFORT | ttl | self.wants_receipt * WANTS_RECEIPT

    def payload(self) -> bytes:
        ttl = () if self.ttl_ms is None else (self.ttl_ms,)
        values = (self.TYPE, self.channel, self.flags, self.topic, self.sequence, *ttl)
        return b"".join(map(pack, values)) + self.body

    @classmethod
    def from_reader(cls, reader: Reader) -> Publish:
        """The values behind the type; the rest is the body."""
        channel, flags, topic = reader.uint(), reader.uint(), reader.value()
        if type(topic) is not str and (type(topic) is not int or topic < 0):
            raise Malformed("the topic is neither an alias nor text")
        sequence = reader.uint()
        ttl_ms = reader.uint() if flags & HAS_TTL else None
        return cls(
            channel=channel,
            topic=topic,
            sequence=sequence,
            body=reader.rest(),
            best_effort=bool(flags & BEST_EFFORT),
            wants_receipt=bool(flags & WANTS_RECEIPT),
            ttl_ms=ttl_ms,
        )


@dataclass(frozen=True)
class Event(Frame):
    """One copy for one subscription, with aliases and deltas as they are on the wire (5.4)."""

    TYPE: ClassVar[int] = 53
    channel: int
    topic: int
    publisher: int
    sequence_delta: int
    accepted_delta: int
    body: bytes
    best_effort: bool = False
    ttl_ms: int | None = None
    mailbox_sequence: int | None = None
    attempt: int | None = None

    @property
    def flags(self) -> int:
        """The flag bits."""
        bits = (
            (self.ttl_ms, HAS_TTL),
            (self.mailbox_sequence, HAS_MAILBOX_SEQUENCE),
            (self.attempt, HAS_ATTEMPT),
        )
        return self.best_effort * BEST_EFFORT | sum(bit for value, bit in bits if value is not None)

    def payload(self) -> bytes:
        fixed = (self.TYPE, self.channel, self.flags, self.topic, self.publisher)
        deltas = (self.sequence_delta, self.accepted_delta)
        present = (v for v in (self.ttl_ms, self.mailbox_sequence, self.attempt) if v is not None)
        return b"".join(map(pack, (*fixed, *deltas, *present))) + self.body

    @classmethod
    def from_reader(cls, reader: Reader) -> Event:
        """The values behind the type; the rest is the body."""
        channel, flags, topic, publisher = (reader.uint() for _ in range(4))
        sequence_delta, accepted_delta = reader.sint(), reader.sint()
        ttl_ms, mailbox_sequence, attempt = (
            reader.uint() if flags & bit else None for bit in (HAS_TTL, HAS_MAILBOX_SEQUENCE, HAS_ATTEMPT)
        )
        return cls(
            channel=channel,
            topic=topic,
            publisher=publisher,
            sequence_delta=sequence_delta,
            accepted_delta=accepted_delta,
            body=reader.rest(),
            best_effort=bool(flags & BEST_EFFORT),
            ttl_ms=ttl_ms,
            mailbox_sequence=mailbox_sequence,
            attempt=attempt,
        )


STREAM.update({frame.TYPE: frame for frame in (Clock, Publish, Event)})
