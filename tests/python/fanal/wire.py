"""MessagePack values and the framing of streams (PROTOCOL.md 3.1, 3.2).

1. A receiver takes every form of a length and of an integer; a sender uses the shortest.
2. A value of an unknown key is stepped over, but never deeper than `DEPTH_MAX`.
3. Whatever is wrong with the bytes is `Malformed`; no other error leaves this module.

Which fields a frame has is not said here, but in `frames`.
"""

from __future__ import annotations

from typing import Any, Final

import msgpack

from .errors import TOO_LARGE, Malformed

DEPTH_MAX: Final = 16
"""How deep maps and lists may nest (PROTOCOL.md 3.2)."""

CONTROL_FRAME_BYTES_MAX: Final = 262_144
"""Longest control frame (PROTOCOL.md 3.3)."""

STREAM_FRAME_EXTRA_BYTES: Final = 4_096
"""By how much a frame on an event stream may exceed the largest body (PROTOCOL.md 3.3)."""

_NIL: Final = 0xC0
_VARINT_BYTES: Final = ((1 << 6, 1, 0x00), (1 << 14, 2, 0x40), (1 << 30, 4, 0x80), (1 << 62, 8, 0xC0))


def encode_varint(value: int) -> bytes:
    """`value` as a variable-length integer in its shortest form (RFC 9000, 16)."""
    for bound, size, prefix in _VARINT_BYTES:
        if value < bound:
            encoded = bytearray(value.to_bytes(size, "big"))
            encoded[0] |= prefix
            return bytes(encoded)
    raise ValueError(f"{value} does not fit a variable-length integer")


def decode_varint(data: bytes | bytearray, position: int = 0) -> tuple[int, int] | None:
    """The integer at `position` and the position behind it; None when bytes are missing."""
    if position >= len(data):
        return None
    size = 1 << (data[position] >> 6)
    if position + size > len(data):
        return None
    value = int.from_bytes(data[position : position + size], "big")
    return value & ((1 << (8 * size - 2)) - 1), position + size


def framed(payload: bytes) -> bytes:
    """`payload` behind its length."""
    return encode_varint(len(payload)) + payload


class FrameSplitter:
    """Cuts the bytes of one stream into frames. Holds at most one frame that is not complete."""

    def __init__(self, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()

    @property
    def is_inside_frame(self) -> bool:
        """Whether the stream may not end here."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes. O(bytes)."""
        self._buffer += data
        frames: list[bytes] = []
        start = 0
        while (head := decode_varint(self._buffer, start)) is not None:
            length, begin = head
            self._check_length(length)
            if begin + length > len(self._buffer):
                break
            start = begin + length
            frames.append(bytes(self._buffer[begin:start]))
        del self._buffer[:start]
        return frames

    def _check_length(self, length: int) -> None:
        if length == 0:
            raise Malformed("a frame of length 0")
        if length > self.frame_bytes_max:
            raise Malformed(f"a frame of {length} bytes, at most {self.frame_bytes_max} are taken", TOO_LARGE)


def pack(value: Any) -> bytes:
    """`value` as MessagePack, every form the shortest; `bytes` become binary."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


class Reader:
    """Reads typed MessagePack values from one frame, front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, timestamp=0)
        self._unpacker.feed(data)

    @property
    def position(self) -> int:
        """Bytes read so far."""
        position: int = self._unpacker.tell()
        return position

    @property
    def is_at_end(self) -> bool:
        """Whether all bytes were read."""
        return self.position == len(self._data)

    def rest(self) -> bytes:
        """All bytes that were not read."""
        return self._data[self.position :]

    def value(self) -> Any:
        """The next value, whatever its type."""
        return self._take(self._unpacker.unpack)

    def uint(self, bits: int = 64) -> int:
        """An unsigned integer of at most `bits` bits."""
        value = self.value()
        if type(value) is not int or not 0 <= value < 1 << bits:
            raise Malformed(f"{value!r:.80} where an unsigned integer of {bits} bits belongs")
        return value

    def sint(self, bits: int = 64) -> int:
        """An integer with a sign, of at most `bits` bits."""
        value = self.value()
        if type(value) is not int or not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            raise Malformed(f"{value!r:.80} where an integer of {bits} bits belongs")
        return value

    def boolean(self) -> bool:
        """true or false."""
        value = self.value()
        if type(value) is not bool:
            raise Malformed(f"{value!r:.80} where a boolean belongs")
        return value

    def text(self) -> str:
        """A string."""
        value = self.value()
        if type(value) is not str:
            raise Malformed(f"{value!r:.80} where text belongs")
        return value

    def binary(self, size: int | None = None) -> bytes:
        """Binary data, of exactly `size` bytes where that is given."""
        value = self.value()
        if type(value) is not bytes or (size is not None and len(value) != size):
            raise Malformed(f"{value!r:.80} where binary data belongs")
        return value

    def map_header(self) -> int:
        """Number of pairs of the map that begins here."""
        if not self._is_map():
            raise Malformed("not a map")
        pairs: int = self._take(self._unpacker.read_map_header)
        return pairs

    def list_header(self) -> int:
        """Number of values of the list that begins here."""
        if not self._is_list():
            raise Malformed("not a list")
        values: int = self._take(self._unpacker.read_array_header)
        return values

    def nil(self) -> bool:
        """Whether nil comes next; then it is read."""
        if self._next_byte() != _NIL:
            return False
        self.value()
        return True

    def skip(self, depth: int) -> None:
        """Steps over one value that stands `depth` maps and lists deep."""
        if self._is_map():
            values = 2 * self.map_header()
        elif self._is_list():
            values = self.list_header()
        else:
            self._take(self._unpacker.skip)
            return
        if depth >= DEPTH_MAX:
            raise Malformed(f"maps and lists nest deeper than {DEPTH_MAX}")
        for _ in range(values):
            self.skip(depth + 1)

    def _next_byte(self) -> int:
        position = self.position
        if position >= len(self._data):
            raise Malformed("ends where a value belongs")
        return self._data[position]

    def _is_map(self) -> bool:
        byte = self._next_byte()
        return byte & 0xF0 == 0x80 or byte in (0xDE, 0xDF)

    def _is_list(self) -> bool:
        byte = self._next_byte()
        return byte & 0xF0 == 0x90 or byte in (0xDC, 0xDD)

    def _take(self, read: Any) -> Any:
        try:
            return read()
        except (msgpack.UnpackException, ValueError, TypeError, OverflowError) as error:
            raise Malformed(f"no MessagePack: {error!r}") from error
