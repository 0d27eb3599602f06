"""The frames that only brokers send each other (PROTOCOL.md 6). A client needs them for nothing but the
test vectors: one that comes ends the connection."""

from __future__ import annotations

from dataclasses import dataclass

from .frames import Incarnation
from .records import BOOL, TEXT, MapFrame, Record, key, list_of, optional, record, uint


@dataclass(frozen=True)
class InterestEntry(Record):
    """One ask of a broker (6.3)."""

    id: int = key(1, uint())
    interest_class: int = key(2, uint(8), name="class")
    filter: str = key(3, TEXT)
    predicate: str | None = key(4, optional(TEXT))
    excluded: tuple[str, ...] = key(5, list_of(TEXT), name="except")
    strict: str | None = key(6, optional(TEXT))


@dataclass(frozen=True)
class PeerHello(MapFrame, number=32):
    """First frame of both sides of a link (6.1)."""

    versions: tuple[int, ...] = key(1, list_of(uint(32)))
    agent: str = key(2, TEXT)
    incarnation: Incarnation = key(3, record(Incarnation))


@dataclass(frozen=True)
class PeerReady(MapFrame, number=33):
    """The link is kept (6.1)."""

    version: int = key(1, uint(32))
    received_through: int = key(2, uint())
    body_bytes_max: int = key(3, uint())


@dataclass(frozen=True)
class InterestSnapshot(MapFrame, number=34):
    """A part of the whole interest (6.3)."""

    version: int = key(1, uint())
    part: int = key(2, uint())
    last: bool = key(3, BOOL)
    entries: tuple[InterestEntry, ...] = key(4, list_of(record(InterestEntry)))


@dataclass(frozen=True)
class InterestDelta(MapFrame, number=35):
    """A change of the interest (6.3)."""

    from_version: int = key(1, uint(), name="from")
    to_version: int = key(2, uint(), name="to")
    add: tuple[InterestEntry, ...] = key(3, list_of(record(InterestEntry)))
    remove: tuple[int, ...] = key(4, list_of(uint()))


@dataclass(frozen=True)
class InterestAck(MapFrame, number=36):
    """A version is installed (6.3)."""

    version: int = key(1, uint())


@dataclass(frozen=True)
class InterestDigest(MapFrame, number=37):
    """What the sender's set should look like at its peer (6.3)."""

    version: int = key(1, uint())
    digest: int = key(2, uint())
    entries: int = key(3, uint())


@dataclass(frozen=True)
class InterestResync(MapFrame, number=38):
    """A snapshot is wanted (6.3)."""

    have: int = key(1, uint())


@dataclass(frozen=True)
class HopAck(MapFrame, number=39):
    """Everything up to `through` is recorded and flushed (6.4)."""

    through: int = key(1, uint())


@dataclass(frozen=True)
class Hole(MapFrame, number=56):
    """Mailbox sequences of a link that have no event any more (6.4)."""

    from_sequence: int = key(1, uint(), name="from")
    through: int = key(2, uint())
    reason: str = key(3, TEXT)
