"""The types of the tables and how a map is read and written (PROTOCOL.md 3.2).

1. What equals its default is not written; a missing key reads as its default.
2. An unknown key is stepped over, whatever its value.
3. A record is an immutable value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeVar

from .errors import Malformed
from .wire import Reader, framed, pack

_R = TypeVar("_R", bound="Record")


@dataclass(frozen=True)
class Kind:
    """A type of the tables: its default, how it is read, and what is packed for it."""

    default: Any
    read: Callable[[Reader], Any]
    plain: Callable[[Any], Any] = lambda value: value


def uint(bits: int = 64) -> Kind:
    """An unsigned integer of at most `bits` bits."""
    return Kind(0, lambda reader: reader.uint(bits))


def binary(size: int) -> Kind:
    """Binary data of exactly `size` bytes; zeros by default."""
    return Kind(bytes(size), lambda reader: reader.binary(size))


BOOL: Final = Kind(False, lambda reader: reader.boolean())
TEXT: Final = Kind("", lambda reader: reader.text())


def list_of(kind: Kind) -> Kind:
    """A list, as a tuple."""

    def read(reader: Reader) -> tuple[Any, ...]:
        return tuple(kind.read(reader) for _ in range(reader.list_header()))

    return Kind((), read, lambda values: [kind.plain(value) for value in values])


def tuple_of(*kinds: Kind) -> Kind:
    """A pair or a triple."""

    def read(reader: Reader) -> tuple[Any, ...]:
        if reader.list_header() != len(kinds):
            raise Malformed(f"not a list of {len(kinds)}")
        return tuple(kind.read(reader) for kind in kinds)

    return Kind(None, read, list)


def optional(kind: Kind) -> Kind:
    """As `kind`; nil and a missing key are None."""

    def read(reader: Reader) -> Any:
        return None if reader.nil() else kind.read(reader)

    return Kind(None, read, lambda value: None if value is None else kind.plain(value))


def key(number: int, kind: Kind, *, name: str | None = None) -> Any:
    """A field of a map: its key and type, and its name on the page where Python has another use for that."""
    return dataclasses.field(default=kind.default, metadata={"key": number, "kind": kind, "name": name})


@dataclass(frozen=True)
class Record:
    """A map with small unsigned integers as keys (PROTOCOL.md 3.2)."""

    @classmethod
    def fields(cls) -> dict[int, tuple[str, Kind]]:
        """Name and type of each key, ascending."""
        if (known := _FIELDS.get(cls)) is None:
            named = ((f.metadata["key"], (f.name, f.metadata["kind"])) for f in dataclasses.fields(cls))
            known = _FIELDS[cls] = dict(sorted(named))
        return known

    @classmethod
    def read(cls: type[_R], reader: Reader, depth: int = 1) -> _R:
        """The map that begins at the reader's position."""
        known = cls.fields()
        values: dict[str, Any] = {}
        for _ in range(reader.map_header()):
            number = reader.uint()
            if number not in known:
                reader.skip(depth)
                continue
            name, kind = known[number]
            if name in values:
                raise Malformed(f"key {number} stands twice")
            values[name] = kind.read(reader)
        return cls(**values)

    def plain(self) -> dict[int, Any]:
        """What is packed: keys ascending, defaults left out."""
        entries = ((number, getattr(self, name), kind) for number, (name, kind) in self.fields().items())
        return {number: kind.plain(value) for number, value, kind in entries if value != kind.default}


_FIELDS: dict[type[Record], dict[int, tuple[str, Kind]]] = {}


def record(cls: type[Record]) -> Kind:
    """A map inside of a map."""
    return Kind(cls(), cls.read, lambda value: value.plain())


class Frame:
    """Any frame. `TYPE` is its number."""

    TYPE: ClassVar[int]

    def payload(self) -> bytes:
        """The frame without its length."""
        raise NotImplementedError

    @classmethod
    def from_reader(cls, reader: Reader) -> Frame:
        """The frame whose type was read; nothing may follow it."""
        raise NotImplementedError

    def encode(self) -> bytes:
        """The frame as it goes on a stream."""
        return framed(self.payload())


CONTROL: Final[dict[int, type[Frame]]] = {}
"""Frames of the control stream by number."""

STREAM: Final[dict[int, type[Frame]]] = {}
"""Frames of event streams by number."""


@dataclass(frozen=True)
class MapFrame(Record, Frame):
    """A frame that is its type and one map."""

    def __init_subclass__(cls, *, number: int) -> None:
        super().__init_subclass__()
        cls.TYPE = number
        (CONTROL if number < 48 else STREAM)[number] = cls

    def payload(self) -> bytes:
        return pack(self.TYPE) + pack(self.plain())

    @classmethod
    def from_reader(cls, reader: Reader) -> MapFrame:
        """The map behind the type, and nothing behind it."""
        frame = cls.read(reader)
        if not reader.is_at_end:
            raise Malformed("bytes after the map")
        return frame
