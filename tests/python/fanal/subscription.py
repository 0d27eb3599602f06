"""A subscription, live or durable, as an asynchronous iterator (PROTOCOL.md 5.4, 5.5, 5.7).

1. Credit follows the program: what it has taken from the iterator is granted again.
2. A durable event is acked only by `ack`, whose future is done when the broker has flushed that.
3. While this object lives its program gets each durable event once: a redelivery of what it has, or
   of what it acked without an answer, is recognised by its mailbox sequence; the ack is repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from .errors import ChannelClosed, ConnectionEnded, FanalError
from .frames import Ack, Acked, ChannelClosedFrame, Credit, Detach, Gap, Subscribe, Subscribed
from .records import Frame
from .streams import Delivery

if TYPE_CHECKING:
    from .client import Client

CREDIT_EVENTS: Final = 1_000
CREDIT_BYTES: Final = 4 * 1_048_576
ACK_RANGES_MAX: Final = 16_384
GAP_UNKNOWN: Final = 2
"""Nobody can tell how many; other kinds than 0 to 2 are taken for it (5.5)."""


class Subscription:
    """`async for item in subscription` gives `Delivery` and `Gap`. It ends after `detach`, and raises
    `ChannelClosed` or `ConnectionEnded` when the broker or the connection ends it.

    `installed` and `pending` in `receipt` say which brokers match; `redelivered` counts events that
    came again and were kept from the program.
    """

    def __init__(
        self,
        filter: str,
        *,
        predicate: str | None = None,
        excluded: tuple[str, ...] = (),
        durable: str | None = None,
        wait: str | None = None,
        wait_ms: int | None = None,
        credit_events: int = CREDIT_EVENTS,
        credit_bytes: int = CREDIT_BYTES,
        strict: str | None = None,
    ) -> None:
        self._asked = Subscribe(
            0, filter, predicate, excluded, durable, wait, wait_ms, credit_events, credit_bytes, strict
        )
        self.receipt = Subscribed()
        self.redelivered = 0
        self._items: asyncio.Queue[Delivery | Gap | FanalError | None] = asyncio.Queue()
        self._in_hand: set[int] = set()
        self._unconfirmed: dict[int, asyncio.Future[None]] = {}
        self._to_ack: set[int] = set()
        self._to_repeat: set[int] = set()
        self._repeated: set[int] = set()
        self._client: Client | None = None
        self._was_attached = False

    async def resume(self, client: Client) -> None:
        """Attaches at `client`. Raises `Refused`, `ConnectionEnded`."""
        channel = client.next_number()
        self._begin(client, channel)
        wait = "home" if self._was_attached else self._asked.wait
        try:
            subscribed = await client.request(replace(self._asked, channel=channel, wait=wait))
        except FanalError:
            client.forget_channel(channel)
            self._client = None
            raise
        assert isinstance(subscribed, Subscribed)
        self._on_subscribed(subscribed)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Delivery | Gap:
        item = await self._items.get()
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, FanalError):
            raise item
        self._on_taken(item)
        return item

    async def next(self, timeout: float) -> Delivery | Gap:
        """The next item; raises TimeoutError when none comes in time."""
        return await asyncio.wait_for(anext(self), timeout)

    def is_empty(self) -> bool:
        """Whether nothing waits to be taken."""
        return self._items.empty()

    def ack(self, *deliveries: Delivery) -> asyncio.Future[None]:
        """Acks deliveries; the future is done when the broker has flushed the last of them.

        It stays open when the connection is lost before, and is done after `resume`.
        """
        waiting = [self._ack_one(delivery) for delivery in deliveries]
        return asyncio.ensure_future(_all(waiting))

    def grant(self, events: int, bytes: int) -> None:
        """Raises the totals of credit by hand."""
        self._granted_events, self._granted_bytes = events, bytes
        if self._client is not None:
            self._client.connection.send(Credit(self.channel, events, bytes))

    def detach(self) -> None:
        """Ends the channel; a durable subscription stays."""
        if self._client is not None:
            self._flush_acks()
            self._client.connection.send(Detach(channel=self.channel))
            self._client.forget_channel(self.channel)
            self._client = None
            self._items.put_nowait(None)

    # What the client calls.

    def handle_frame(self, frame: Frame) -> None:
        """An answer to an ack, or the end of the channel."""
        match frame:
            case Acked(ranges=ranges):
                self._on_acked(ranges)
            case ChannelClosedFrame(_, code, name, reason):
                self._end(ChannelClosed(code, name, reason))
                self.detach()

    def handle_item(self, item: Delivery | Gap) -> None:
        """An event or a gap, in the order of its stream."""
        if isinstance(item, Delivery) and item.mailbox_sequence is not None:
            self._repeat_acks(item.mailbox_sequence)
            if self._is_known(item.mailbox_sequence):
                self.redelivered += 1
                self._on_taken(item)
                return
            self._in_hand.add(item.mailbox_sequence)
        if isinstance(item, Gap) and item.kind > GAP_UNKNOWN:
            item = replace(item, kind=GAP_UNKNOWN, count=0)
        self._items.put_nowait(item)

    def on_ended(self, ended: ConnectionEnded) -> None:
        """The program is told; what it has in hand stays known for `resume`."""
        self._client = None
        self._end(ended)

    def _begin(self, client: Client, channel: int) -> None:
        while not self._items.empty():
            self._forget_untaken(self._items.get_nowait())
        self._taken_events = self._taken_bytes = 0
        self._granted_events, self._granted_bytes = self._asked.credit_events, self._asked.credit_bytes
        self._client, self.channel = client, channel
        client.open_channel(channel, self)

    def _forget_untaken(self, item: Delivery | Gap | FanalError | None) -> None:
        """What the program did not take will come again, and is not known to it."""
        if isinstance(item, Delivery) and item.mailbox_sequence is not None:
            self._in_hand.discard(item.mailbox_sequence)

    def _on_subscribed(self, subscribed: Subscribed) -> None:
        self.receipt = subscribed
        if self._was_attached and self._asked.durable is not None and not subscribed.resumed:
            self._forget_mailbox()
        self._was_attached = True
        self._to_ack |= self._unconfirmed.keys()
        self._to_repeat, self._repeated = set(self._unconfirmed), set(self._unconfirmed)
        self._flush_acks()

    def _forget_mailbox(self) -> None:
        """The subscription was removed meanwhile: its numbers mean something else now (5.8)."""
        self._in_hand.clear()
        self._repeated.clear()
        self._to_repeat.clear()
        for waiting in self._unconfirmed.values():
            waiting.set_result(None)
        self._unconfirmed.clear()

    def _on_taken(self, item: Delivery | Gap) -> None:
        if isinstance(item, Gap):
            return
        self._taken_events += 1
        self._taken_bytes += len(item.body_bytes)
        events, size = self._asked.credit_events, self._asked.credit_bytes
        used_events = self._taken_events + events - self._granted_events
        used_bytes = self._taken_bytes + size - self._granted_bytes
        if used_events > events // 2 or used_bytes > size // 2:
            self.grant(self._taken_events + events, self._taken_bytes + size)

    # Acks.

    def _ack_one(self, delivery: Delivery) -> asyncio.Future[None]:
        sequence = delivery.mailbox_sequence
        if sequence is None:
            raise ValueError("only an event with a mailbox sequence is acked")
        if sequence in self._unconfirmed:
            return self._unconfirmed[sequence]
        self._in_hand.discard(sequence)
        waiting = self._unconfirmed[sequence] = asyncio.get_running_loop().create_future()
        self._send_soon({sequence})
        return waiting

    def _repeat_acks(self, came: int) -> None:
        """Repeats acks of the connection before, up to what came: a home that was restarted takes them
        only for what it has begun to deliver again."""
        due = {sequence for sequence in self._to_repeat if sequence <= came}
        if due:
            self._to_repeat -= due
            self._send_soon(due)

    def _is_known(self, sequence: int) -> bool:
        """Whether the program had this event. One whose ack was repeated may come behind the `Acked`,
        on its own stream; those below what comes now do not come any more."""
        is_known = any(sequence in known for known in (self._in_hand, self._unconfirmed, self._repeated))
        self._repeated = {repeated for repeated in self._repeated if repeated >= sequence}
        return is_known

    def _send_soon(self, sequences: set[int]) -> None:
        if not self._to_ack:
            asyncio.get_running_loop().call_soon(self._flush_acks)
        self._to_ack |= sequences

    def _flush_acks(self) -> None:
        if self._client is None or self._client.connection.ended is not None:
            return
        ranges = ranges_of(self._to_ack & self._unconfirmed.keys())
        self._to_ack.clear()
        for start in range(0, len(ranges), ACK_RANGES_MAX):
            part = tuple(ranges[start : start + ACK_RANGES_MAX])
            self._client.connection.send(Ack(self.channel, part))

    def _on_acked(self, ranges: Iterable[tuple[int, int]]) -> None:
        for first, last in ranges:
            for sequence in [s for s in self._unconfirmed if first <= s <= last]:
                waiting = self._unconfirmed.pop(sequence)
                self._to_repeat.discard(sequence)
                if not waiting.done():
                    waiting.set_result(None)

    def _end(self, error: FanalError) -> None:
        self._items.put_nowait(error)


async def _all(waiting: list[asyncio.Future[None]]) -> None:
    for one in waiting:
        await asyncio.shield(one)


def ranges_of(sequences: Iterable[int]) -> list[tuple[int, int]]:
    """The inclusive ranges that hold exactly `sequences`, ascending."""
    ranges: list[tuple[int, int]] = []
    for sequence in sorted(sequences):
        if ranges and ranges[-1][1] + 1 == sequence:
            ranges[-1] = (ranges[-1][0], sequence)
        else:
            ranges.append((sequence, sequence))
    return ranges
