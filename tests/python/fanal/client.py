"""A client at its home: the hello, channels and requests of one connection (PROTOCOL.md 3.5, 5, 8).

1. Channel and request numbers count up and are never used again (5.1).
2. Each request is answered, refused, or ends with its connection; none waits for ever.

A `Client` is one connection. To go on after it was lost, make another one, and give it to
`Publisher.attach` and `Subscription.resume`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any, Final, Protocol

from .connection import Connection
from .credentials import Credentials
from .errors import ConnectionEnded, Malformed, Refused
from .frames import (
    RECEIPTS_MAX,
    Acked,
    Answer,
    ChannelClosedFrame,
    Close,
    Done,
    Epoch,
    Gap,
    Hello,
    PublishOpened,
    Query,
    Receipts,
    RefusedFrame,
    RemoveSubscription,
    Subscribed,
    UpdateSubscription,
    Welcome,
)
from .publisher import Publisher
from .records import Frame
from .streams import Delivery
from .subscription import Subscription

VERSIONS: Final = (1,)
AGENT: Final = "fanal-python/0.1"
GOODBYE_SECONDS: Final = 10.0


class Channel(Protocol):
    """What a publisher and a subscription are to their client."""

    def handle_frame(self, frame: Frame) -> None:
        """A control frame for the channel."""

    def handle_item(self, item: Delivery | Gap) -> None:
        """An event or a gap for the channel."""

    def on_ended(self, ended: ConnectionEnded) -> None:
        """The connection is over."""


class Client:
    """One connection to the home, after `Welcome`."""

    welcome: Welcome
    connection: Connection

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._replies: dict[int, asyncio.Future[Frame]] = {}
        self._channels: dict[int, Channel] = {}
        self._welcomed: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()

    @classmethod
    async def connect(cls, credentials: Credentials | str | Path) -> Client:
        """Dials the home. `credentials` is a file, or a broker's data directory on this machine."""
        if not isinstance(credentials, Credentials):
            credentials = Credentials.load(credentials)
        client = cls()
        client.connection = await Connection.dial(
            credentials, client._handle_frame, client._handle_item, client._on_ended
        )
        client.connection.send(Hello(versions=VERSIONS, agent=AGENT))
        client.welcome = await client.connection.unless_ended(client._welcomed)
        client.connection.body_bytes_max = client.welcome.body_bytes_max
        return client

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def publisher(self, resume: Epoch | None = None) -> Publisher:
        """Opens a publish channel, with a new epoch or going on with one of this principal."""
        publisher = Publisher(resume)
        await publisher.attach(self)
        return publisher

    async def subscribe(self, filter: str, **options: Any) -> Subscription:
        """Subscribes; for `options` see `Subscription`."""
        subscription = Subscription(filter, **options)
        await subscription.resume(self)
        return subscription

    async def remove_subscription(self, durable: str) -> None:
        """Removes a durable subscription and all that waits there."""
        await self.request(RemoveSubscription(request=self.next_number(), durable=durable))

    async def update_subscription(
        self,
        durable: str,
        filter: str,
        predicate: str | None = None,
        excluded: tuple[str, ...] = (),
        strict: str | None = None,
    ) -> None:
        """Gives a durable subscription another filter; what is queued stays."""
        number = self.next_number()
        await self.request(UpdateSubscription(number, durable, filter, predicate, excluded, strict))

    async def query(self, page: str) -> dict[str, Any]:
        """A page of the broker (8)."""
        answer = await self.request(Query(request=self.next_number(), page=page))
        assert isinstance(answer, Answer)
        members: dict[str, Any] = json.loads(answer.json)
        return members

    async def ping(self) -> None:
        """Waits until the home answers."""
        await self.connection.ping()

    async def close(self) -> None:
        """Says goodbye: what was published arrives, and the epochs are forgotten (3.4)."""
        if self.connection.ended is not None:
            return
        try:
            await self.connection.finish_streams()
            self.connection.send(Close())
            await asyncio.wait_for(self.connection.wait_ended(), GOODBYE_SECONDS)
        except (ConnectionEnded, TimeoutError):
            self.connection.end()

    def next_number(self) -> int:
        """A number for a channel or a request."""
        return next(self._numbers)

    def open_channel(self, number: int, channel: Channel) -> None:
        """From now on what comes for `number` goes to `channel`."""
        self._channels[number] = channel

    def forget_channel(self, number: int) -> None:
        """From now on what comes for `number` is ignored."""
        self._channels.pop(number, None)

    async def request(self, frame: Any) -> Frame:
        """Sends a frame that is answered, and waits for that. Raises `Refused`, `ConnectionEnded`."""
        number = frame.channel if hasattr(frame, "channel") else frame.request
        reply: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        try:
            self.connection.send(frame)
            return await reply
        finally:
            del self._replies[number]

    def _handle_frame(self, frame: Frame) -> None:
        match frame:
            case Welcome(version=version) if not self._welcomed.done():
                if version not in VERSIONS:
                    raise Malformed(f"version {version} was chosen, which was not offered")
                self._welcomed.set_result(frame)
            case RefusedFrame(request, code, name, reason):
                self._settle(request, Refused(code, name, reason))
            case PublishOpened(channel=number) | Subscribed(channel=number):
                self._settle(number, frame)
            case Done(request=number) | Answer(request=number):
                self._settle(number, frame)
            case Receipts(count=count) if count > RECEIPTS_MAX:
                raise Malformed(f"one frame stands for {count} receipts")
            case Receipts(channel=number) | Acked(channel=number) | ChannelClosedFrame(channel=number):
                if (channel := self._channels.get(number)) is not None:
                    channel.handle_frame(frame)
            case Close(code, reason):
                self.connection.end(code, reason)
            case _:
                raise Malformed(f"frame type {frame.TYPE} does not belong here")

    def _handle_item(self, item: Delivery | Gap) -> None:
        if (channel := self._channels.get(item.channel)) is not None:
            channel.handle_item(item)

    def _settle(self, number: int, answer: Frame | Refused) -> None:
        reply = self._replies.get(number)
        if reply is None or reply.done():
            return
        if isinstance(answer, Refused):
            reply.set_exception(answer)
        else:
            reply.set_result(answer)

    def _on_ended(self, ended: ConnectionEnded) -> None:
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(ended)
        for channel in list(self._channels.values()):
            channel.on_ended(ended)
