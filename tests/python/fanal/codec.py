"""From the bytes of a frame to the frame. Every frame is known here (PROTOCOL.md 3.6)."""

from __future__ import annotations

from . import events, frames, links
from .errors import Malformed
from .records import Frame
from .wire import Reader

# What registers itself in `records.CONTROL` and `records.STREAM`.
MODULES = (frames, events, links)


def decode(payload: bytes, known: dict[int, type[Frame]]) -> Frame:
    """The frame in `payload` (without length), which must be one of `known`: CONTROL or STREAM."""
    reader = Reader(payload)
    number = reader.uint()
    if number not in known:
        raise Malformed(f"frame type {number} is not known on this kind of stream")
    return known[number].from_reader(reader)
