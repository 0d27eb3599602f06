"""A store that is full: refused for now, and not for good (PROTOCOL.md 5.6)."""

from __future__ import annotations

import asyncio
import json

from fanal import Body
from fanal.frames import Receipts

from .support import BOUND_SECONDS, Probe, World, check, publish

_LARGE = 240_000


async def _fill_most(world: World) -> None:
    """Most of the store, by the command line, which is faster."""
    lines = "".join(json.dumps({"n": n, "fill": "x" * (_LARGE // 2)}) + "\n" for n in range(36))
    process = await world.cli(
        "publish", "--ndjson", "--topic", "full/a", data=world.small, stdin=lines.encode()
    )
    _, stderr = await process.communicate()
    assert process.returncode == 0, stderr


@check("507 with retry_ms while the store is full, 425 behind it; with room again all of it is stored")
async def _(world: World) -> None:
    client = await world.client("full", world.small)
    await client.subscribe("full/#", durable="full", wait="home", credit_events=0)
    publisher = await client.publisher()
    await _fill_most(world)
    body = Body(payload=bytes(_LARGE))
    probe = await Probe.welcomed(world, "full", world.small)
    await probe.open_channel()
    stream = probe.connection.open_stream()
    sequence, refused = 1, None
    while refused is None:
        stream.write(publish(1, sequence, body.encode(), "full/b"))
        receipts = await probe.expect(Receipts)
        ((first, _, code, destinations),) = receipts.spans()
        assert first == sequence and sequence < 60, "the store does not fill"
        if code == 507:
            (refused,) = receipts.exceptions
        else:
            assert (code, destinations) == (200, 1)
            sequence += 1
    assert refused.retry_ms is not None and 0 < refused.retry_ms <= 60_000, refused
    # Where the store lies is the operator's business.
    assert "/" not in refused.reason, refused
    stream.write(publish(1, sequence + 1))
    assert await probe.spans(1) == [(sequence + 1, 425)]
    outcomes = [await publisher.send("full/c", body) for _ in range(3)]
    await client.ping()
    await client.remove_subscription("full")
    receipts = await asyncio.wait_for(asyncio.gather(*outcomes), BOUND_SECONDS)
    assert [(receipt.sequence, receipt.code) for receipt in receipts] == [(1, 200), (2, 200), (3, 200)]
    stream.write(publish(1, sequence), publish(1, sequence + 1))
    assert await probe.spans(2) == [(sequence, 200), (sequence + 1, 200)]
