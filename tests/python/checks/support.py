"""What the checks stand on: their register, certificates, a client without manners.

1. A check names what must hold and raises when it does not. Each has a bound in time.
2. Each check has its own principal, topics and names, so that none sees another's events.
3. Only `World.ask` reaches the driver, which owns the broker processes.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from fanal import Body, Client, Credentials, Delivery, Gap, Refused, Subscription
from fanal.connection import CLIENT_ALPN, Connection
from fanal.errors import ConnectionEnded
from fanal.events import Publish
from fanal.frames import Hello, OpenPublish, PublishOpened, Receipts, Welcome
from fanal.records import Frame

from .authority import Authority

BOUND_SECONDS: Final = 20.0
"""How long anything may take that is no fault."""

_F = TypeVar("_F", bound=Frame)


@dataclass
class World:
    """Two brokers of one CA that are linked, one alone with a small store, and the `fanal` binary."""

    home: Path
    peer: Path
    small: Path
    authority: Authority
    fanal: Path
    vectors: Path
    _clients: list[Client] = field(default_factory=list)

    def credentials(self, name: str, data: Path | None = None) -> Credentials:
        """Credentials of a client of that name for a broker, the home unless told otherwise."""
        local = Credentials.load(data or self.home)
        return local.with_identity(*self.authority.issue(f"fanal://client/{name}"))

    async def client(self, name: str, data: Path | None = None) -> Client:
        """A client, connected. It is closed when the check is over."""
        client = await Client.connect(self.credentials(name, data))
        self._clients.append(client)
        return client

    def local(self, data: Path | None = None) -> Credentials:
        """The credentials that the broker itself wrote."""
        return Credentials.load(data or self.home)

    async def ask(self, command: str) -> None:
        """Has the driver do something to a broker, such as `crash home`, and waits until it is done."""
        print(f"want {command}", flush=True)
        answer = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        if answer.strip() != "done":
            raise RuntimeError(f"the driver answered {answer!r} to {command!r}")

    async def cli(
        self, *arguments: str, data: Path | None = None, stdin: bytes | None = None
    ) -> asyncio.subprocess.Process:
        """Starts a `fanal` command for a broker."""
        pipe = asyncio.subprocess.PIPE
        command = (*arguments, "--data", str(data or self.home), "--timeout", f"{BOUND_SECONDS:.0f}s")
        with tempfile.TemporaryFile() as file:
            file.write(stdin or b"")
            file.seek(0)
            return await asyncio.create_subprocess_exec(
                str(self.fanal), *command, stdin=file, stdout=pipe, stderr=pipe
            )

    async def end_check(self) -> None:
        """Closes what the last check left open."""
        clients, self._clients = self._clients, []
        for client in clients:
            if client.connection.ended is None:
                client.connection.end()


Check = Callable[[World], Awaitable[None]]
CHECKS: Final[list[tuple[str, Check]]] = []

AT_ONCE: Final[set[str]] = set()
"""Checks that wait for a long time and run beside the others."""


def check(text: str, *, at_once: bool = False) -> Callable[[Check], Check]:
    """Registers a function as the check of `text`."""

    def register(function: Check) -> Check:
        CHECKS.append((text, function))
        if at_once:
            AT_ONCE.add(text)
        return function

    return register


class Probe:
    """A connection whose frames are written by hand."""

    def __init__(self) -> None:
        self.control: asyncio.Queue[Frame] = asyncio.Queue()
        self.items: asyncio.Queue[Delivery | Gap] = asyncio.Queue()
        self.connection: Connection
        self.numbers = iter(range(1, 1_000_000))

    @classmethod
    async def dial(cls, credentials: Credentials, alpn: str = CLIENT_ALPN) -> Probe:
        """Dials, and says nothing."""
        probe = cls()
        probe.connection = await Connection.dial(
            credentials, probe.control.put_nowait, probe.items.put_nowait, alpn=alpn
        )
        return probe

    @classmethod
    async def welcomed(cls, world: World, name: str, data: Path | None = None) -> Probe:
        """Dials a broker, the home unless told otherwise, and says hello."""
        probe = await cls.dial(world.credentials(name, data))
        probe.connection.send(Hello(versions=(1,), agent="probe"))
        await probe.expect(Welcome)
        return probe

    async def expect(self, kind: type[_F]) -> _F:
        """The next control frame, which must be of that kind."""
        frame = await asyncio.wait_for(self.connection.unless_ended(self.control.get()), BOUND_SECONDS)
        assert isinstance(frame, kind), f"{frame} instead of {kind.__name__}"
        return frame

    async def ask(self, frame: Frame, kind: type[_F]) -> _F:
        """Sends a frame and takes the answer."""
        self.connection.send(frame)
        return await self.expect(kind)

    async def open_channel(self) -> PublishOpened:
        """A new publish channel."""
        return await self.ask(OpenPublish(channel=next(self.numbers)), PublishOpened)

    async def expect_close(self, code: int, *words: str) -> None:
        """The broker must end the connection with this code and a reason that holds `words`."""
        await must_end(asyncio.wait_for(self.connection.wait_ended(), BOUND_SECONDS), code, *words)

    async def spans(self, count: int) -> list[tuple[int, int]]:
        """(sequence, code) of so many answers, in the order in which they came."""
        answers: list[tuple[int, int]] = []
        while len(answers) < count:
            receipts = await self.expect(Receipts)
            for first, last, code, _ in receipts.spans():
                answers += [(sequence, code) for sequence in range(first, last + 1)]
        return answers


async def must_end(ended: Awaitable[ConnectionEnded], code: int, *words: str) -> None:
    """`ended` must be an end with this code and a reason that holds `words`."""
    end = await ended
    assert end.code == code, f"ended with {end.code} {end.reason!r}, not {code}"
    for word in words:
        assert word in end.reason, f"{word!r} is not in {end.reason!r}"


async def must_refuse(request: Awaitable[Any], code: int, name: str, *words: str) -> Refused:
    """`request` must be refused with this code and name, and a reason that holds `words`."""
    try:
        answer = await request
    except Refused as refused:
        assert (refused.code, refused.name) == (code, name), refused
        for word in words:
            assert word in refused.reason, f"{word!r} is not in {refused.reason!r}"
        return refused
    raise AssertionError(f"{answer} instead of {code} {name}")


def publish(channel: int, sequence: int, body: bytes = b"\x80", topic: str = "t", **more: Any) -> Publish:
    """A publish frame with its topic spelled out."""
    return Publish(channel, topic, sequence, body, **more)


def event(number: int, **fields: Any) -> Body:
    """A body whose payload is a number."""
    return Body(payload=str(number).encode(), **fields)


async def take(subscription: Subscription, count: int) -> list[Delivery]:
    """The next items, which must be events."""
    taken = [await subscription.next(BOUND_SECONDS) for _ in range(count)]
    assert all(isinstance(item, Delivery) for item in taken), taken
    return taken  # type: ignore[return-value]


async def numbers(subscription: Subscription, count: int) -> list[int]:
    """The payloads of the next events, as numbers."""
    return [int(delivery.body.payload) for delivery in await take(subscription, count)]
