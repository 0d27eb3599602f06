"""What one event stream remembers: aliases, clock, last sequences (PROTOCOL.md 5.2, 5.4).

1. State is per stream, never shared between streams.
2. A frame moves aliases, clock and deltas whoever its channel belongs to; only then may it be ignored.
3. No IO: frames go in, frames or deliveries come out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import ClassVar, Final

from .body import Body
from .errors import Malformed
from .events import Clock, Event
from .frames import Epoch, Gap, PublisherAlias, StreamOpen, TopicAlias
from .records import Frame
from .topics import is_topic

ALIASES_MAX: Final = 4_096
"""Aliases of one kind on one stream (PROTOCOL.md 3.3)."""

_PUBLISHER_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}@[0-9a-f]{64}")


class StreamKind(IntEnum):
    """What a stream carries (5.2)."""

    PUBLISH = 1
    DURABLE = 2
    LIVE = 3


@dataclass(frozen=True)
class Delivery:
    """One event for one subscription, aliases and deltas resolved."""

    channel: int
    topic: str
    publisher: str
    epoch: Epoch
    sequence: int
    accepted_ms: int
    body_bytes: bytes
    best_effort: bool
    ttl_ms: int | None
    mailbox_sequence: int | None
    attempt: int | None

    @cached_property
    def body(self) -> Body:
        """What the publisher wrote."""
        return Body.decode(self.body_bytes)

    @property
    def id(self) -> str:
        """The publisher's id for it, or the one that is made of its identity (4)."""
        return self.body.id or f"{self.publisher}:{self.epoch}:{self.sequence}"


class TopicAliases:
    """Gives topics numbers on a stream that is written to: in order, then the oldest again."""

    def __init__(self) -> None:
        self._alias_of: dict[str, int] = {}
        self._next = 0

    def alias_for(self, topic: str) -> tuple[int, TopicAlias | None]:
        """The number of `topic`, and the definition that must go before its use, if one must."""
        if (known := self._alias_of.get(topic)) is not None:
            return known, None
        alias = self._next % ALIASES_MAX
        if self._next >= ALIASES_MAX:
            del self._alias_of[next(iter(self._alias_of))]
        self._alias_of[topic] = alias
        self._next += 1
        return alias, TopicAlias(alias=alias, topic=topic)


@dataclass
class _Publisher:
    name: str
    epoch: Epoch
    last_sequence: int = 0


class ReceivedStream:
    """The receiving side of one event stream from a broker."""

    KINDS: ClassVar[tuple[StreamKind, ...]] = (StreamKind.DURABLE, StreamKind.LIVE)

    def __init__(self) -> None:
        self.kind: StreamKind | None = None
        self._topics: dict[int, str] = {}
        self._publishers: dict[int, _Publisher] = {}
        self._clock_ms = 0

    def handle(self, frame: Frame) -> Delivery | Gap | None:
        """What `frame` means to a subscription; None when it only changes the stream's state."""
        if self.kind is None:
            self._handle_first(frame)
            return None
        match frame:
            case Event():
                return self._resolve(frame)
            case Gap() if self.kind is StreamKind.LIVE:
                return frame
            case TopicAlias():
                self._check_topic(frame.topic)
                self._topics[_checked(frame.alias)] = frame.topic
            case PublisherAlias():
                if not _PUBLISHER_ID.fullmatch(frame.publisher):
                    raise Malformed(f"{frame.publisher!r} is no publisher id")
                self._publishers[_checked(frame.alias)] = _Publisher(frame.publisher, frame.epoch)
            case Clock():
                self._clock_ms = frame.base_ms
            case _:
                raise Malformed(f"frame type {frame.TYPE} may not stand on a stream of kind {self.kind}")
        return None

    def _check_topic(self, topic: str) -> None:
        if not is_topic(topic):
            raise Malformed(f"{topic!r:.80} is no topic")

    def _handle_first(self, frame: Frame) -> None:
        if not isinstance(frame, StreamOpen):
            raise Malformed(f"a stream begins with frame type {frame.TYPE}")
        if frame.kind not in self.KINDS:
            raise Malformed(f"the other side opened a stream of kind {frame.kind}")
        self.kind = StreamKind(frame.kind)

    def _resolve(self, event: Event) -> Delivery:
        topic, publisher = self._topics.get(event.topic), self._publishers.get(event.publisher)
        if topic is None or publisher is None:
            raise Malformed(f"topic alias {event.topic} or publisher alias {event.publisher} is not defined")
        if (event.mailbox_sequence is not None) != (self.kind is StreamKind.DURABLE):
            raise Malformed("a mailbox sequence belongs to each event of a durable stream, and to no other")
        publisher.last_sequence = (publisher.last_sequence + event.sequence_delta) % 2**64
        return Delivery(
            channel=event.channel,
            topic=topic,
            publisher=publisher.name,
            epoch=publisher.epoch,
            sequence=publisher.last_sequence,
            accepted_ms=self._clock_ms + event.accepted_delta,
            body_bytes=event.body,
            best_effort=event.best_effort,
            ttl_ms=event.ttl_ms,
            mailbox_sequence=event.mailbox_sequence,
            attempt=event.attempt,
        )


def _checked(alias: int) -> int:
    if alias >= ALIASES_MAX:
        raise Malformed(f"alias {alias}, the largest is {ALIASES_MAX - 1}")
    return alias
