"""A publisher: pipelined at-least-once and best effort on one channel (PROTOCOL.md 5.1, 5.3, 5.6).

1. Every event gets exactly one outcome: its receipt, `PublishRefused`, or `OutcomeUnknown`.
2. After a refusal it goes back to that sequence: 400, 403, 413 and 409 are given up with a skip,
   5xx and 429 sent again later, and everything above in order behind it. 425 shows nowhere.
3. Outstanding events outlive the connection: `attach` resumes the epoch on the next one, and what
   the home has is then 208.
4. Outstanding are at most `WINDOW_EVENTS` events, and `WINDOW_BYTES` but for one; then `send` waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .body import Body
from .connection import PublishStream
from .errors import ConnectionEnded, OutcomeUnknown, PublishRefused, Refused
from .events import Publish
from .frames import ClosePublish, Epoch, Gap, OpenPublish, PublishOpened, ReceiptException, Receipts, Skip
from .records import Frame
from .streams import Delivery

if TYPE_CHECKING:
    from .client import Client

WINDOW_EVENTS: Final = 1_024
WINDOW_BYTES: Final = 8 * 1_048_576
RETRY_MS_DEFAULT: Final = 1_000

DURABLE: Final = 200
DUPLICATE: Final = 208
GONE: Final = 410
BLOCKED: Final = 425
QUOTA: Final = 429


@dataclass(frozen=True)
class Receipt:
    """A success: 200, 202 or 208; how many durable destinations the event has."""

    sequence: int
    code: int
    destinations: int


@dataclass(frozen=True)
class _Outstanding:
    topic: str
    body: bytes
    ttl_ms: int | None
    outcome: asyncio.Future[Receipt]


class Publisher:
    """One publish channel and its epoch. `next` is the sequence of the next at-least-once event."""

    epoch: Epoch | None

    def __init__(self, resume: Epoch | None = None) -> None:
        self.epoch = resume
        self.next = 1
        self.resumed_at: int | None = None
        self._next_best_effort = 1
        self._knows_best_effort = resume is None
        self._outstanding: dict[int, _Outstanding] = {}
        self._outstanding_bytes = 0
        self._best_effort: dict[int, asyncio.Future[Receipt]] = {}
        self._given_up: set[int] = set()
        self._room = asyncio.Event()
        self._client: Client | None = None

    @property
    def outstanding(self) -> int:
        """Events without an outcome."""
        return len(self._outstanding)

    async def attach(self, client: Client) -> None:
        """Opens the channel at `client`: a new epoch, or the one that this publisher has.

        Raises `Refused`. After 410 everything outstanding is unknown, and the next `attach` takes a
        new epoch.
        """
        channel = client.next_number()
        client.open_channel(channel, self)
        try:
            opened = await client.request(OpenPublish(channel=channel, resume=self.epoch))
        except Refused as refused:
            client.forget_channel(channel)
            self._on_open_refused(refused)
            raise
        assert isinstance(opened, PublishOpened)
        self._client, self.channel = client, channel
        self._stream: PublishStream = client.connection.open_stream()
        self._on_opened(opened)

    async def publish(
        self, topic: str, body: Body | bytes, *, ttl_ms: int | None = None, spell_topic: bool = False
    ) -> Receipt:
        """Publishes at-least-once and waits for the outcome."""
        return await (await self.send(topic, body, ttl_ms=ttl_ms, spell_topic=spell_topic))

    async def send(
        self, topic: str, body: Body | bytes, *, ttl_ms: int | None = None, spell_topic: bool = False
    ) -> asyncio.Future[Receipt]:
        """Publishes at-least-once; the future is the outcome. Waits only while the window is full."""
        while not self._has_room():
            self._room.clear()
            await self._room.wait()
        sequence, self.next = self.next, self.next + 1
        outcome: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        entry = self._outstanding[sequence] = _Outstanding(topic, _bytes(body), ttl_ms, outcome)
        self._outstanding_bytes += len(entry.body)
        if self._client is not None:
            self._write(sequence, spell_topic=spell_topic)
        return outcome

    def send_best_effort(
        self, topic: str, body: Body | bytes, *, ttl_ms: int | None = None, receipt: bool = False
    ) -> asyncio.Future[Receipt] | None:
        """Publishes as best effort; the future is there when a receipt was asked for."""
        if self._client is None:
            raise ConnectionEnded(None, "not attached")
        if not self._knows_best_effort:
            raise ValueError(
                "how far best effort came under a resumed epoch is not known: use another publisher"
            )
        sequence, self._next_best_effort = self._next_best_effort, self._next_best_effort + 1
        alias = self._alias(topic)
        self._stream.write(Publish(self.channel, alias, sequence, _bytes(body), True, receipt, ttl_ms))
        if not receipt:
            return None
        outcome = self._best_effort[sequence] = asyncio.get_running_loop().create_future()
        return outcome

    def skip(self, first: int, last: int) -> None:
        """Gives up sequences that were refused or never sent."""
        for sequence in range(first, last + 1):
            if sequence in self._outstanding:
                self._take(sequence).outcome.cancel()
        self._stream.write(Skip(self.channel, first, last))
        self.next = max(self.next, last + 1)

    def close(self) -> None:
        """Closes the channel; the home forgets the epoch (5.1)."""
        if self._client is not None:
            self._client.connection.send(ClosePublish(channel=self.channel))
            self._client.forget_channel(self.channel)
            self._client = None

    # What the client calls.

    def handle_frame(self, frame: Frame) -> None:
        """A receipt frame: runs in ascending order."""
        if not isinstance(frame, Receipts):
            return
        exceptions = {exception.sequence: exception for exception in frame.exceptions}
        answer = self._on_best_effort if frame.best_effort else self._on_answer
        waiting: Collection[int] = self._best_effort if frame.best_effort else self._outstanding
        for first, last, code, destinations in frame.spans():
            # A run may be as long as its sender likes; only what waits for an answer is looked at.
            for sequence in [waits for waits in waiting if first <= waits <= last]:
                why = exceptions.get(sequence, ReceiptException(sequence, code))
                answer(Receipt(sequence, code, destinations), why)
        self._room.set()

    def handle_item(self, item: Delivery | Gap) -> None:
        """No event belongs to a publish channel; what comes is ignored (5.4)."""

    def on_ended(self, ended: ConnectionEnded) -> None:
        """Best effort is lost; at-least-once waits for the next `attach`."""
        self._client = None
        for outcome in self._best_effort.values():
            _fail(outcome, ended)
        self._best_effort.clear()

    # Outcomes.

    def _on_answer(self, receipt: Receipt, why: ReceiptException) -> None:
        code, sequence = receipt.code, receipt.sequence
        entry = self._outstanding.get(sequence)
        if entry is None or code == BLOCKED:
            return
        if code < 300:
            self._take(sequence)
            self._given_up = {given_up for given_up in self._given_up if given_up > sequence}
            _succeed(entry.outcome, receipt)
        elif code == QUOTA or code >= 500:
            delay_ms = why.retry_ms if why.retry_ms is not None else RETRY_MS_DEFAULT
            asyncio.get_running_loop().call_later(delay_ms / 1000, self._go_back, sequence, self._client)
        elif code == GONE:
            self._take(sequence)
            _fail(entry.outcome, OutcomeUnknown(why.reason))
        else:
            self._take(sequence)
            self._given_up.add(sequence)
            _fail(entry.outcome, PublishRefused(code, "", why.reason))
            self._go_back(sequence, self._client)

    def _on_best_effort(self, receipt: Receipt, why: ReceiptException) -> None:
        if (outcome := self._best_effort.pop(receipt.sequence, None)) is None:
            return
        if receipt.code < 300:
            _succeed(outcome, receipt)
        else:
            _fail(outcome, PublishRefused(receipt.code, "", why.reason))

    def _on_opened(self, opened: PublishOpened) -> None:
        self.epoch, self.resumed_at = opened.epoch, opened.next
        for sequence in [sequence for sequence in self._outstanding if sequence < opened.next]:
            _succeed(self._take(sequence).outcome, Receipt(sequence, DUPLICATE, 0))
        self._room.set()
        self.next = max(self.next, opened.next)
        self._go_back(opened.next, self._client)

    def _on_open_refused(self, refused: Refused) -> None:
        if refused.code != GONE:
            return
        for sequence in list(self._outstanding):
            _fail(self._take(sequence).outcome, OutcomeUnknown(refused.reason))
        self._given_up.clear()
        self._room.set()
        self.epoch, self.next = None, 1
        self._next_best_effort, self._knows_best_effort = 1, True

    # Sending.

    def _has_room(self) -> bool:
        return len(self._outstanding) < WINDOW_EVENTS and self._outstanding_bytes < WINDOW_BYTES

    def _take(self, sequence: int) -> _Outstanding:
        entry = self._outstanding.pop(sequence)
        self._outstanding_bytes -= len(entry.body)
        return entry

    def _go_back(self, first: int, client: Client | None) -> None:
        """Sends everything from `first` on again, in order, and skips what was given up."""
        if client is None or client is not self._client:
            return
        for sequence in sorted({s for s in (*self._outstanding, *self._given_up) if s >= first}):
            if sequence in self._given_up:
                self._stream.write(Skip(self.channel, sequence, sequence))
            else:
                self._write(sequence)

    def _write(self, sequence: int, *, spell_topic: bool = False) -> None:
        entry = self._outstanding[sequence]
        topic = entry.topic if spell_topic else self._alias(entry.topic)
        self._stream.write(Publish(self.channel, topic, sequence, entry.body, ttl_ms=entry.ttl_ms))

    def _alias(self, topic: str) -> int:
        alias, definition = self._stream.aliases.alias_for(topic)
        if definition is not None:
            self._stream.write(definition)
        return alias


def _bytes(body: Body | bytes) -> bytes:
    return body.encode() if isinstance(body, Body) else body


def _succeed(outcome: asyncio.Future[Receipt], receipt: Receipt) -> None:
    if not outcome.done():
        outcome.set_result(receipt)


def _fail(outcome: asyncio.Future[Receipt], error: Exception) -> None:
    if not outcome.done():
        outcome.set_exception(error)
