"""The body of an event: what the publisher wrote (PROTOCOL.md 4).

1. `Body.decode` takes exactly what a broker takes; anything else is `Malformed`. Of an attribute's
   name that stands twice the first counts.
2. What is not known is kept out of the way: a body that was received is never written anew, so its
   bytes stay with the delivery.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgpack

from .errors import Malformed
from .wire import Reader, pack

Timestamp: TypeAlias = msgpack.Timestamp
"""A point in time: seconds and nanoseconds since the Unix epoch."""

Value: TypeAlias = bool | int | float | str | bytes | Timestamp
"""What an attribute may be."""

TEXT_BYTES_MAX: Final = 1_024
ATTRIBUTES_MAX: Final = 256
RESERVED_NAMES: Final = frozenset(("id", "source", "time", "topic"))

_KEY_FIELDS: Final = {
    1: "id",
    2: "source",
    3: "time",
    4: "ordering_key",
    5: "attributes",
    6: "content_type",
    7: "reply_to",
    8: "correlation",
    9: "payload",
}


@dataclass(frozen=True)
class Body:
    """One event as its publisher wrote it. Absent fields are None; an absent payload is empty."""

    id: str | None = None
    source: str | None = None
    time: Timestamp | None = None
    ordering_key: str | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)
    content_type: str | None = None
    reply_to: str | None = None
    correlation: str | None = None
    payload: bytes = b""

    def encode(self) -> bytes:
        """The body's bytes: keys ascending, absent ones left out."""
        fields = ((number, getattr(self, name)) for number, name in _KEY_FIELDS.items())
        return pack(
            {number: value for number, value in fields if value is not None and value not in ({}, b"")}
        )

    @classmethod
    def decode(cls, data: bytes) -> Body:
        """The body in `data`, which must hold nothing else."""
        reader = Reader(data)
        values: dict[str, Any] = {}
        seen: set[int] = set()
        for _ in range(reader.map_header()):
            number = reader.uint()
            if number <= 9 and number in seen:
                raise Malformed(f"key {number} stands twice")
            seen.add(number)
            if number in _KEY_FIELDS:
                values[_KEY_FIELDS[number]] = _read_field(number, reader)
            else:
                reader.skip(1)
        if not reader.is_at_end:
            raise Malformed("bytes after the body")
        return cls(**values)


def _read_field(number: int, reader: Reader) -> Any:
    if number == 3:
        return _timestamp(reader.value())
    if number == 5:
        return _attributes(reader)
    if number == 9:
        return reader.binary()
    return _text(reader)


def _text(reader: Reader) -> str:
    text = reader.text()
    if not 1 <= len(text.encode()) <= TEXT_BYTES_MAX:
        raise Malformed(f"text of {len(text.encode())} bytes, 1 to {TEXT_BYTES_MAX} are allowed")
    return text


def _timestamp(value: Any) -> Timestamp:
    if type(value) is not msgpack.Timestamp:
        raise Malformed("not a timestamp")
    return value


def _attributes(reader: Reader) -> dict[str, Value]:
    count = reader.map_header()
    if count > ATTRIBUTES_MAX:
        raise Malformed(f"{count} attributes, at most {ATTRIBUTES_MAX} are allowed")
    attributes: dict[str, Value] = {}
    for _ in range(count):
        name = _text(reader)
        if name in RESERVED_NAMES or has_control_character(name):
            raise Malformed(f"attribute name {name!r} is reserved or holds a control character")
        attributes.setdefault(name, _attribute_value(reader.value()))
    return attributes


def _attribute_value(value: Any) -> Value:
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise Malformed(f"the integer {value} does not fit 64 bits with a sign")
    if type(value) not in (bool, int, float, str, bytes, Timestamp):
        raise Malformed(f"an attribute may not be {type(value).__name__}")
    return value


def has_control_character(text: str) -> bool:
    """Whether a character of Unicode's category Cc stands in `text`."""
    return any(unicodedata.category(character) == "Cc" for character in text)
