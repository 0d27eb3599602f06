"""What can go wrong, split by whose fault it is (PROTOCOL.md 3.4).

1. `Malformed`: the bytes of the other side break the page; the connection ends with 400.
2. `Refused`, `PublishRefused`: one request or one event was refused; the rest goes on.
3. `ConnectionEnded`: nothing more comes; what was outstanding is unknown until it is resumed.
"""

from __future__ import annotations

from typing import Final

MALFORMED: Final = 400
"""Code of a violation (PROTOCOL.md 3.4)."""

TOO_LARGE: Final = 413
"""Code of a frame or a list over its limit."""


class FanalError(Exception):
    """Any error of this package."""


class Malformed(FanalError):
    """Bytes that break the protocol; `code` is what the connection would end with."""

    def __init__(self, reason: str, code: int = MALFORMED) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Coded(FanalError):
    """An answer of the table of codes (PROTOCOL.md 7)."""

    def __init__(self, code: int, name: str, reason: str) -> None:
        super().__init__(f"{code} {name}: {reason}" if name else f"{code}: {reason}")
        self.code = code
        self.name = name
        self.reason = reason


class Refused(Coded):
    """The home refused a request; nothing was changed."""


class PublishRefused(Coded):
    """The home refused one event for good; its sequence was given up."""


class ChannelClosed(Coded):
    """The home ended a subscription's channel: `taken_over` or `removed`."""


class ConnectionEnded(FanalError):
    """The connection is over. `code` is that of section 7, or None where QUIC itself ended it."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(f"connection ended: {code} {reason}")
        self.code = code
        self.reason = reason


class OutcomeUnknown(FanalError):
    """Whether the event is stored cannot be told: the home does not know the epoch (410)."""


class BadCertificate(FanalError):
    """The dialled side's certificate does not show what PROTOCOL.md 2.2 asks for."""
