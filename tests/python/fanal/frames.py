"""Every frame that is one map: numbers, keys, types (PROTOCOL.md 3 to 6, 8).

1. A frame is an immutable value; `encode` and `decode` are the only way to and from bytes.
2. Frames that only brokers send each other are in `links`.

What the frames mean for a stream or a channel is said in `streams`, `publisher` and `subscription`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .records import (
    BOOL,
    TEXT,
    MapFrame,
    Record,
    binary,
    key,
    list_of,
    optional,
    record,
    tuple_of,
    uint,
)


@dataclass(frozen=True)
class Incarnation(Record):
    """One life of a broker (3.2)."""

    store: bytes = key(1, binary(16))
    recovery_epoch: int = key(2, uint())
    start: int = key(3, uint())

    def __str__(self) -> str:
        return f"{self.store.hex()}-{self.recovery_epoch}-{self.start}"


@dataclass(frozen=True)
class Epoch(Record):
    """What a home issues for a publish channel (3.2, 5.1)."""

    store: bytes = key(1, binary(16))
    recovery_epoch: int = key(2, uint())
    counter: int = key(3, uint())

    def __str__(self) -> str:
        return f"{self.store.hex()}-{self.recovery_epoch}-{self.counter}"


@dataclass(frozen=True)
class Pending(Record):
    """A broker that has not confirmed an interest, and why (5.7)."""

    broker: str = key(1, TEXT)
    reason: str = key(2, TEXT)


@dataclass(frozen=True)
class ReceiptException(Record):
    """Why one sequence was refused, and when it may be tried again (5.6)."""

    sequence: int = key(1, uint())
    code: int = key(2, uint(16))
    reason: str = key(3, TEXT)
    retry_ms: int | None = key(4, optional(uint()))


@dataclass(frozen=True)
class Hello(MapFrame, number=1):
    """First frame of a client (3.5)."""

    versions: tuple[int, ...] = key(1, list_of(uint(32)))
    agent: str = key(2, TEXT)
    client: bytes = key(3, binary(16))
    connection: int = key(4, uint())


@dataclass(frozen=True)
class Welcome(MapFrame, number=2):
    """Answers `Hello` (3.5)."""

    version: int = key(1, uint(32))
    broker: str = key(2, TEXT)
    authority: bytes = key(3, binary(32))
    incarnation: Incarnation = key(4, record(Incarnation))
    principal: str = key(5, TEXT)
    body_bytes_max: int = key(6, uint())
    agent: str = key(7, TEXT)
    strict: bool = key(8, BOOL)
    limits: bool = key(9, BOOL)

    @property
    def publisher(self) -> str:
        """The client's publisher id (1.2)."""
        return f"{self.principal}@{self.authority.hex()}"


@dataclass(frozen=True)
class Close(MapFrame, number=3):
    """Last frame of either side (3.4)."""

    code: int = key(1, uint(16))
    reason: str = key(2, TEXT)


@dataclass(frozen=True)
class OpenPublish(MapFrame, number=4):
    """Opens a publish channel, or goes on with an epoch (5.1)."""

    channel: int = key(1, uint(32))
    resume: Epoch | None = key(2, optional(record(Epoch)))


@dataclass(frozen=True)
class PublishOpened(MapFrame, number=5):
    """The channel's epoch and the lowest sequence that is neither accepted nor skipped (5.1)."""

    channel: int = key(1, uint(32))
    epoch: Epoch = key(2, record(Epoch))
    next: int = key(3, uint())


@dataclass(frozen=True)
class Subscribe(MapFrame, number=6):
    """Asks for events (5.7)."""

    channel: int = key(1, uint(32))
    filter: str = key(2, TEXT)
    predicate: str | None = key(3, optional(TEXT))
    excluded: tuple[str, ...] = key(4, list_of(TEXT), name="except")
    durable: str | None = key(5, optional(TEXT))
    wait: str | None = key(6, optional(TEXT))
    wait_ms: int | None = key(7, optional(uint()))
    credit_events: int = key(8, uint())
    credit_bytes: int = key(9, uint())
    strict: str | None = key(10, optional(TEXT))
    max_bytes: int | None = key(11, optional(uint()))
    max_events: int | None = key(12, optional(uint()))
    max_age_ms: int | None = key(13, optional(uint()))
    when_full: str | None = key(14, optional(TEXT))


@dataclass(frozen=True)
class Subscribed(MapFrame, number=7):
    """The interest receipt (5.7)."""

    channel: int = key(1, uint(32))
    home: str = key(2, TEXT)
    installed: tuple[str, ...] = key(3, list_of(TEXT))
    pending: tuple[Pending, ...] = key(4, list_of(record(Pending)))
    resumed: bool = key(5, BOOL)


@dataclass(frozen=True)
class RefusedFrame(MapFrame, number=8):
    """A request or channel was refused (5.1)."""

    request: int = key(1, uint(32))
    code: int = key(2, uint(16))
    name: str = key(3, TEXT)
    reason: str = key(4, TEXT)


@dataclass(frozen=True)
class Credit(MapFrame, number=9):
    """Totals of what a broker may send on a channel (5.5)."""

    channel: int = key(1, uint(32))
    events: int = key(2, uint())
    bytes: int = key(3, uint())


_RANGES: Final = list_of(tuple_of(uint(), uint()))


@dataclass(frozen=True)
class Ack(MapFrame, number=10):
    """Deliveries are done with: inclusive ranges of mailbox sequences (5.7)."""

    channel: int = key(1, uint(32))
    ranges: tuple[tuple[int, int], ...] = key(2, _RANGES)


@dataclass(frozen=True)
class Acked(MapFrame, number=11):
    """These acks are flushed (5.7)."""

    channel: int = key(1, uint(32))
    ranges: tuple[tuple[int, int], ...] = key(2, _RANGES)


RECEIPTS_MAX: Final = 16_777_216
"""Sequences that one `Receipts` may stand for (3.3)."""


@dataclass(frozen=True)
class Receipts(MapFrame, number=12):
    """Answers to contiguous sequences, as runs of (code, count, destinations) (5.6)."""

    channel: int = key(1, uint(32))
    best_effort: bool = key(2, BOOL)
    through: int = key(3, uint())
    runs: tuple[tuple[int, int, int], ...] = key(4, list_of(tuple_of(uint(16), uint(), uint())))
    exceptions: tuple[ReceiptException, ...] = key(5, list_of(record(ReceiptException)))

    @property
    def count(self) -> int:
        """How many sequences it stands for."""
        return sum(count for _, count, _ in self.runs)

    def spans(self) -> list[tuple[int, int, int, int]]:
        """The runs as (first sequence, last sequence, code, destinations), ascending; of runs that begin
        below 0 what exists."""
        first = self.through + 1 - self.count
        spans = []
        for code, count, destinations in self.runs:
            last = first + count - 1
            if last >= max(first, 0):
                spans.append((max(first, 0), last, code, destinations))
            first += count
        return spans


@dataclass(frozen=True)
class Detach(MapFrame, number=13):
    """Ends a channel (5.7)."""

    channel: int = key(1, uint(32))


@dataclass(frozen=True)
class ChannelClosedFrame(MapFrame, number=14):
    """The broker ended a subscription's channel (5.7)."""

    channel: int = key(1, uint(32))
    code: int = key(2, uint(16))
    name: str = key(3, TEXT)
    reason: str = key(4, TEXT)


@dataclass(frozen=True)
class RemoveSubscription(MapFrame, number=15):
    """Removes a durable subscription (5.7)."""

    request: int = key(1, uint(32))
    durable: str = key(2, TEXT)


@dataclass(frozen=True)
class UpdateSubscription(MapFrame, number=16):
    """Another filter for a durable subscription (5.7)."""

    request: int = key(1, uint(32))
    durable: str = key(2, TEXT)
    filter: str = key(3, TEXT)
    predicate: str | None = key(4, optional(TEXT))
    excluded: tuple[str, ...] = key(5, list_of(TEXT), name="except")
    strict: str | None = key(6, optional(TEXT))
    max_bytes: int | None = key(7, optional(uint()))
    max_events: int | None = key(8, optional(uint()))
    max_age_ms: int | None = key(9, optional(uint()))
    when_full: str | None = key(10, optional(TEXT))


@dataclass(frozen=True)
class Query(MapFrame, number=17):
    """Asks for a page (8)."""

    request: int = key(1, uint(32))
    page: str = key(2, TEXT)


@dataclass(frozen=True)
class Answer(MapFrame, number=18):
    """One JSON object (8)."""

    request: int = key(1, uint(32))
    json: str = key(2, TEXT)


@dataclass(frozen=True)
class Done(MapFrame, number=19):
    """Carried out and flushed (5.7)."""

    request: int = key(1, uint(32))


@dataclass(frozen=True)
class ClosePublish(MapFrame, number=20):
    """The home forgets the channel's epoch (5.1)."""

    channel: int = key(1, uint(32))


@dataclass(frozen=True)
class DeadLetterSelection(Record):
    """Which dead letters are meant (5.9)."""

    subscription: str | None = key(1, optional(TEXT))
    principal: str | None = key(2, optional(TEXT))
    peer: str | None = key(3, optional(TEXT))
    reason: str | None = key(4, optional(TEXT))
    numbers: tuple[tuple[int, int], ...] = key(5, _RANGES)


@dataclass(frozen=True)
class ReadDeadLetters(MapFrame, number=21):
    """Asks for dead letters with their events (5.9)."""

    request: int = key(1, uint(32))
    which: DeadLetterSelection = key(2, record(DeadLetterSelection))
    from_number: int = key(3, uint(), name="from")
    offset: int = key(4, uint())


@dataclass(frozen=True)
class ChangeDeadLetters(MapFrame, number=22):
    """Puts dead letters back, or drops them (5.9)."""

    request: int = key(1, uint(32))
    which: DeadLetterSelection = key(2, record(DeadLetterSelection))
    action: str = key(3, TEXT)


@dataclass(frozen=True)
class Ping(MapFrame, number=40):
    """Wants a `Pong` with the same token (3.5)."""

    token: int = key(1, uint())


@dataclass(frozen=True)
class Pong(MapFrame, number=41):
    """Answers `Ping` (3.5)."""

    token: int = key(1, uint())


@dataclass(frozen=True)
class StreamOpen(MapFrame, number=48):
    """First frame of an event stream (5.2)."""

    kind: int = key(1, uint(8))


@dataclass(frozen=True)
class TopicAlias(MapFrame, number=49):
    """A number for a topic (5.2)."""

    alias: int = key(1, uint(32))
    topic: str = key(2, TEXT)


@dataclass(frozen=True)
class PublisherAlias(MapFrame, number=50):
    """A number for a publisher and its epoch (5.2)."""

    alias: int = key(1, uint(32))
    publisher: str = key(2, TEXT)
    epoch: Epoch = key(3, record(Epoch))


@dataclass(frozen=True)
class Skip(MapFrame, number=54):
    """Gives up sequences (5.6)."""

    channel: int = key(1, uint(32))
    from_sequence: int = key(2, uint(), name="from")
    through: int = key(3, uint())


@dataclass(frozen=True)
class Gap(MapFrame, number=55):
    """Events are missing here (5.5). Kind 0: exactly `count`, 1: at most, 2: nobody can tell."""

    channel: int = key(1, uint(32))
    kind: int = key(2, uint(8))
    count: int = key(3, uint())
    reason: str = key(4, TEXT)
    broker: str = key(5, TEXT)
