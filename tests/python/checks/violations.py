"""What ends a connection, and nothing but that connection (PROTOCOL.md 3, 5.2 to 5.7)."""

from __future__ import annotations

from fanal.events import Clock, Publish
from fanal.frames import (
    Ack,
    Answer,
    Detach,
    Ping,
    Query,
    StreamOpen,
    Subscribe,
    Subscribed,
    TopicAlias,
    Welcome,
)
from fanal.wire import encode_varint, framed, pack

from .support import Probe, World, check, publish


async def _ends_control(world: World, data: bytes, code: int = 400) -> None:
    probe = await Probe.welcomed(world, "violation")
    probe.connection.send_bytes(data)
    await probe.expect_close(code)


async def _ends_stream(world: World, *data: bytes, code: int = 400, ends: bool = False) -> None:
    probe = await Probe.welcomed(world, "violation")
    await probe.open_channel()
    stream = probe.connection.open_stream(opened=False)
    stream.write_bytes(b"".join(data))
    if ends:
        stream.finish()
    await probe.expect_close(code)


OPEN = StreamOpen(kind=1).encode()


@check("400 for an unknown frame type, on both kinds of stream")
async def _(world: World) -> None:
    await _ends_control(world, framed(pack(63) + b"\x80"))
    await _ends_stream(world, OPEN, framed(pack(63) + b"\x80"))


@check("400 for a frame of length 0, bytes that are no map, bytes after the map")
async def _(world: World) -> None:
    await _ends_control(world, b"\x00")
    await _ends_control(world, framed(pack(40) + b"\x90"))
    await _ends_control(world, framed(pack(40)))
    await _ends_control(world, framed(pack("ping") + b"\x80"))
    await _ends_control(world, framed(pack(40) + b"\x80\x80"))
    await _ends_stream(world, b"\x00")


@check("400 for a field of another type, or too large for its type")
async def _(world: World) -> None:
    await _ends_control(world, framed(pack(40) + pack({1: "token"})))
    await _ends_control(world, framed(pack(40) + pack({1: -1})))
    await _ends_control(world, framed(pack(13) + pack({1: 2**32})))


@check("unknown keys are ignored, whatever their value, down to 16 levels; 17 are 400")
async def _(world: World) -> None:
    probe = await Probe.welcomed(world, "unknown-keys")
    unknown = {9: [1, {"a": b"\x00"}], 200: None, 2**40: 1.5}
    probe.connection.send_bytes(framed(pack(17) + pack({1: 5, **unknown, 2: "status"})))
    assert (await probe.expect(Answer)).request == 5
    probe.connection.send_bytes(framed(pack(17) + b"\x83\x01\x06\x02\xa6status\x09" + b"\x91" * 15 + b"\x01"))
    assert (await probe.expect(Answer)).request == 6
    probe.connection.send_bytes(framed(pack(17) + b"\x83\x01\x07\x02\xa6status\x09" + b"\x91" * 16 + b"\x01"))
    await probe.expect_close(400)


@check("413 for a control frame, or a frame on a publish stream, over its limit")
async def _(world: World) -> None:
    await _ends_control(world, encode_varint(262_145), 413)
    await _ends_stream(world, OPEN, encode_varint(65_536 + 4_097), code=413)


@check("400 for a frame on the control stream that belongs to a broker, or to a link")
async def _(world: World) -> None:
    await _ends_control(world, Welcome(version=1).encode())
    await _ends_control(world, framed(pack(39) + pack({1: 1})))


@check("400 for an event frame on the control stream, and a control frame on an event stream")
async def _(world: World) -> None:
    await _ends_control(world, publish(1, 1).encode())
    await _ends_stream(world, OPEN, Ping(token=1).encode())


@check("400 for a stream that does not begin with StreamOpen of kind 1, or has it twice")
async def _(world: World) -> None:
    await _ends_stream(world, TopicAlias(alias=0, topic="t").encode())
    for kind in (0, 2, 3, 4):
        await _ends_stream(world, StreamOpen(kind=kind).encode())
    await _ends_stream(world, OPEN, OPEN)


@check("400 for a clock on a publish stream")
async def _(world: World) -> None:
    await _ends_stream(world, OPEN, Clock(base_ms=1).encode())


@check("400 for a stream that ends inside a frame")
async def _(world: World) -> None:
    await _ends_stream(world, OPEN, publish(1, 1).encode()[:-1], ends=True)


@check("400 for an unknown alias, and one that is too large")
async def _(world: World) -> None:
    await _ends_stream(world, OPEN, Publish(1, 3, 1, b"\x80").encode())
    await _ends_stream(world, OPEN, TopicAlias(alias=4_096, topic="t").encode())


@check("400 for a publish on a channel that was never open")
async def _(world: World) -> None:
    await _ends_stream(world, OPEN, publish(9, 1).encode())


@check("400 for a bad range in an Ack, 413 for too many")
async def _(world: World) -> None:
    for ranges, code in ((((0, 1),), 400), (((5, 4),), 400), (((1, 1),) * 16_385, 413)):
        probe = await Probe.welcomed(world, "bad-ack")
        await probe.ask(Subscribe(1, "bad-ack", durable="bad-ack", wait="home"), Subscribed)
        probe.connection.send(Ack(1, ranges))
        await probe.expect_close(code)


@check("an Ack on a live or unknown channel, and a Detach of an unknown one, are ignored")
async def _(world: World) -> None:
    probe = await Probe.welcomed(world, "ignored-ack")
    await probe.ask(Subscribe(1, "ignored", wait="home"), Subscribed)
    probe.connection.send(Ack(1, ((1, 2),)), Ack(77, ((1, 2),)), Detach(channel=78))
    probe.connection.send(Query(request=9, page="status"))
    assert (await probe.expect(Answer)).request == 9
    probe.connection.end()


@check("a violation ends its own connection only")
async def _(world: World) -> None:
    bystander = await world.client("bystander")
    await _ends_control(world, b"\x00")
    await bystander.ping()
