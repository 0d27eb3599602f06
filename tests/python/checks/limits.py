"""Limits of mailboxes and dead letters (PROTOCOL.md 5.9)."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from fanal.frames import (
    Answer,
    ChangeDeadLetters,
    DeadLetterSelection,
    Detach,
    Done,
    ReadDeadLetters,
    RefusedFrame,
    Subscribe,
    Subscribed,
    UpdateSubscription,
)

from .support import Probe, World, check, event


def _ask(channel: int, durable: str | None, **limits: Any) -> Subscribe:
    return Subscribe(channel, "limits/#", durable=durable, wait="home", **limits)


async def _refusal(probe: Probe, frame: Any) -> tuple[int, str]:
    refused = await probe.ask(frame, RefusedFrame)
    return refused.code, refused.name


async def _letters(probe: Probe, request: int, which: DeadLetterSelection) -> list[dict[str, Any]]:
    """All of them; a body that comes in parts is put together."""
    letters: list[dict[str, Any]] = []
    place: dict[str, int] | None = {"from": 0, "offset": 0}
    while place is not None:
        ask = ReadDeadLetters(request, which, place["from"], place["offset"])
        page = json.loads((await probe.ask(ask, Answer)).json)
        for letter in page["letters"]:
            body = base64.b64decode(letter["body"])
            if letters and letters[-1]["number"] == letter["number"]:
                letters[-1]["bytes"] += body
            else:
                letters.append({**letter, "bytes": body})
        place, request = page["next"], request + 1
    return letters


async def _full(world: World, name: str, count: int) -> tuple[Probe, list[bytes]]:
    """A client of its own with a mailbox of one event, to which `count` events were published."""
    probe = await Probe.welcomed(world, name)
    await probe.ask(_ask(1, name, max_events=1, credit_events=0), Subscribed)
    publisher = await (await world.client(f"{name}-out")).publisher()
    bodies = [event(n) for n in range(count)]
    for body in bodies:
        receipt = await publisher.publish("limits/a", body, ttl_ms=600_000)
        assert receipt.code == 200, receipt
    while len(await _letters(probe, 1000, DeadLetterSelection())) < count - 1:
        await asyncio.sleep(0)
    return probe, [body.encode() for body in bodies]


@check("a home says that it takes limits; 409 filter_differs for others, 400 bad_limits for odd ones")
async def _(world: World) -> None:
    client = await world.client("limits-welcome")
    assert client.welcome.limits
    probe = await Probe.welcomed(world, "limits-differ")
    await probe.ask(_ask(1, "box", max_events=10, when_full="drop_oldest"), Subscribed)
    probe.connection.send(Detach(1))
    await probe.ask(_ask(2, "box"), Subscribed)
    probe.connection.send(Detach(2))
    assert await _refusal(probe, _ask(3, "box", max_events=11)) == (409, "filter_differs")
    for number, odd in enumerate(
        [{"max_events": 0}, {"max_bytes": 0}, {"max_age_ms": 0}, {"when_full": "refuse"}], start=4
    ):
        assert await _refusal(probe, _ask(number, "odd", **odd)) == (400, "bad_limits"), odd
    assert await _refusal(probe, _ask(8, None, max_events=1)) == (400, "bad_limits")
    # Limits alone: the filter stays. 0 takes one away.
    await probe.ask(UpdateSubscription(9, "box", max_events=0, max_bytes=1 << 20), Done)
    await probe.ask(_ask(10, "box", max_bytes=1 << 20, when_full="drop_oldest"), Subscribed)
    probe.connection.end()


@check("the oldest events of a full mailbox are dead letters, in order, byte for byte")
async def _(world: World) -> None:
    probe, bodies = await _full(world, "limits-dead", 5)
    letters = await _letters(probe, 100, DeadLetterSelection(subscription="limits-dead"))
    assert [letter["bytes"] for letter in letters] == bodies[:-1]
    assert [letter["body_bytes"] for letter in letters] == [len(body) for body in bodies[:-1]]
    sequences = [letter["sequence"] for letter in letters]
    assert sequences == sorted(sequences) and all(letter["topic"] == "limits/a" for letter in letters)
    first = letters[0]
    assert (first["reason"], first["destination"]["kind"]) == ("full", "durable"), first
    assert first["since"] <= first["until"], first
    probe.connection.end()


@check("dead letters are put back, or dropped, and counted; those of others are 403 not_yours")
async def _(world: World) -> None:
    probe, _ = await _full(world, "limits-back", 4)
    numbers = [letter["number"] for letter in await _letters(probe, 100, DeadLetterSelection())]
    one = DeadLetterSelection(numbers=((numbers[0], numbers[0]),))
    dropped = await probe.ask(ChangeDeadLetters(200, one, "drop"), Answer)
    assert json.loads(dropped.json) == {"dropped": 1}, dropped
    await probe.ask(UpdateSubscription(201, "limits-back", max_events=100), Done)
    back = await probe.ask(ChangeDeadLetters(202, DeadLetterSelection(), "requeue"), Answer)
    assert json.loads(back.json) == {"requeued": 2}, back
    assert await _letters(probe, 300, DeadLetterSelection()) == []
    assert await _refusal(probe, ChangeDeadLetters(400, one, "burn")) == (400, "bad_action")
    odd = DeadLetterSelection(reason="weather")
    assert await _refusal(probe, ReadDeadLetters(401, odd)) == (400, "bad_selection")
    for which in (DeadLetterSelection(peer="jfk"), DeadLetterSelection(principal=f"x@{'0' * 64}")):
        assert await _refusal(probe, ReadDeadLetters(402, which)) == (403, "not_yours")
    probe.connection.end()
