"""Publish channels, receipts, refusals, skip and resume (PROTOCOL.md 4, 5.1, 5.3, 5.6)."""

from __future__ import annotations

import asyncio

import msgpack

from fanal import Body, PublishRefused
from fanal.events import Publish
from fanal.frames import (
    Receipts,
    Skip,
    TopicAlias,
)
from fanal.streams import ALIASES_MAX
from fanal.wire import pack

from .support import BOUND_SECONDS, Probe, World, check, event, numbers, publish, take


async def _refused(outcome: asyncio.Future, code: int) -> None:
    try:
        receipt = await asyncio.wait_for(outcome, BOUND_SECONDS)
    except PublishRefused as refused:
        assert refused.code == code and refused.reason, refused
        return
    raise AssertionError(f"{receipt} instead of {code}")


@check("at-least-once: 200 in order, with the number of durable destinations")
async def _(world: World) -> None:
    client = await world.client("receipts")
    publisher = await client.publisher()
    nobody = await publisher.publish("receipts/a", event(0))
    assert (nobody.code, nobody.destinations, nobody.sequence) == (200, 0, 1), nobody
    for name in ("one", "two"):
        await client.subscribe("receipts/#", durable=name, wait="home")
    await client.subscribe("receipts/#", wait="home")
    outcomes = [await publisher.send("receipts/a", event(n)) for n in range(1, 2_001)]
    receipts = await asyncio.gather(*outcomes)
    assert [receipt.sequence for receipt in receipts] == list(range(2, 2_002))
    assert {(receipt.code, receipt.destinations) for receipt in receipts} == {(200, 2)}


@check("an alias, a topic spelled out, and an alias that is defined again")
async def _(world: World) -> None:
    subscriber = await world.client("aliases")
    subscription = await subscriber.subscribe("aliases/#", wait="home")
    probe = await Probe.welcomed(world, "aliases-probe")
    await probe.open_channel()
    probe.connection.open_stream().write(
        TopicAlias(alias=0, topic="aliases/zero"),
        TopicAlias(alias=4_095, topic="aliases/last"),
        Publish(1, 0, 1, b"\x80"),
        Publish(1, 4_095, 2, b"\x80"),
        Publish(1, "aliases/spelled", 3, b"\x80"),
        TopicAlias(alias=0, topic="aliases/again"),
        Publish(1, 0, 4, b"\x80"),
    )
    assert await probe.spans(4) == [(1, 200), (2, 200), (3, 200), (4, 200)]
    topics = [delivery.topic for delivery in await take(subscription, 4)]
    assert topics == ["aliases/zero", "aliases/last", "aliases/spelled", "aliases/again"], topics


@check("more topics than there are aliases, both ways")
async def _(world: World) -> None:
    count = ALIASES_MAX + 200
    subscription = await (await world.client("many-in")).subscribe("many/#", durable="many", wait="home")
    publisher = await (await world.client("many-out")).publisher()
    outcomes = [await publisher.send(f"many/{n}", event(n)) for n in (*range(count), 0, 5, count - 1)]
    deliveries = await take(subscription, count + 3)
    assert all(delivery.topic == f"many/{delivery.body.payload.decode()}" for delivery in deliveries)
    assert [int(delivery.body.payload) for delivery in deliveries] == [*range(count), 0, 5, count - 1]
    await asyncio.gather(*outcomes)


@check("best effort: 202 with a receipt, silence without, delivered both times")
async def _(world: World) -> None:
    client = await world.client("best-effort")
    subscription = await client.subscribe("best/#", wait="home")
    publisher = await client.publisher()
    assert publisher.send_best_effort("best/a", event(1)) is None
    outcome = publisher.send_best_effort("best/a", event(2), receipt=True)
    assert outcome is not None
    receipt = await asyncio.wait_for(outcome, BOUND_SECONDS)
    assert (receipt.code, receipt.sequence, receipt.destinations) == (202, 2, 0), receipt
    first, second = await take(subscription, 2)
    assert first.best_effort and first.sequence == 1 and second.sequence == 2
    assert first.mailbox_sequence is None


@check("both classes count their own sequences in one epoch")
async def _(world: World) -> None:
    client = await world.client("classes")
    subscription = await client.subscribe("classes", wait="home")
    publisher = await client.publisher()
    outcome = publisher.send_best_effort("classes", event(1), receipt=True)
    assert outcome is not None and (await outcome).sequence == 1
    assert (await publisher.publish("classes", event(2))).sequence == 1
    both = await take(subscription, 2)
    assert sorted((d.best_effort, d.sequence) for d in both) == [(False, 1), (True, 1)]


@check("a TTL that has run out: not delivered; one that has not: what remains is said")
async def _(world: World) -> None:
    client = await world.client("ttl")
    subscription = await client.subscribe("ttl", durable="ttl", wait="home", credit_events=0)
    publisher = await client.publisher()
    short = await publisher.publish("ttl", event(1), ttl_ms=1)
    assert short.code == 200
    await publisher.publish("ttl", event(2), ttl_ms=600_000)
    await publisher.publish("ttl", event(3))
    began = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < began + 0.05:
        await client.ping()
    subscription.grant(10, 1_000_000)
    second, third = await take(subscription, 2)
    assert (second.body.payload, third.body.payload) == (b"2", b"3")
    assert second.ttl_ms is not None and 0 < second.ttl_ms <= 600_000 - 50, second.ttl_ms
    assert third.ttl_ms is None


@check("400 for each body that breaks section 4; what is around it is stored")
async def _(world: World) -> None:
    client = await world.client("bad-bodies")
    subscription = await client.subscribe("bodies", durable="bodies", wait="home")
    publisher = await client.publisher()
    long = "x" * 1_025
    bad = (
        b"",
        b"\xc0",
        b"\x90",
        b"\x80\x80",
        b"\x81\x09",
        b"\x82\x09\xc4\x00\x09\xc4\x00",
        b"\x82\x00\x01\x00\x02",
        pack({"id": "a"}),
        pack({1: ""}),
        pack({1: long}),
        pack({1: b"a"}),
        b"\x81\x01\xa1\xff",
        pack({3: 5}),
        b"\x81\x03\xd7\xff" + (1_000_000_000 << 34).to_bytes(8, "big"),
        b"\x81\x03\xc7\x05\xff" + bytes(5),
        b"\x81\x03\xd6\x05" + bytes(4),
        pack({9: "text"}),
        pack({5: [1]}),
        *(pack({5: {name: 1}}) for name in ("id", "source", "time", "topic", "", "a\nb", "a\x7fb", long)),
        *(pack({5: {"a": value}}) for value in (None, [1], {"b": 1}, 2**63)),
        pack({5: {"a": msgpack.ExtType(5, b"x")}}),
        pack({5: {f"a{n}": n for n in range(257)}}),
    )
    outcomes = [await publisher.send("bodies", body) for body in bad]
    last = await publisher.send("bodies", event(1))
    for body, outcome in zip(bad, outcomes, strict=True):
        try:
            await _refused(outcome, 400)
        except AssertionError as error:
            raise AssertionError(f"body {body[:40].hex()}: {error}") from error
        try:
            Body.decode(body)
        except Exception:
            continue
        raise AssertionError(f"this codec takes {body[:40].hex()}")
    receipt = await asyncio.wait_for(last, BOUND_SECONDS)
    assert (receipt.code, receipt.sequence) == (200, len(bad) + 1), receipt
    assert await numbers(subscription, 1) == [1]


@check("the largest body that section 4 allows is taken")
async def _(world: World) -> None:
    client = await world.client("good-bodies")
    publisher = await client.publisher()
    text = "x" * 1_024
    good = (
        b"\x80",
        pack({1: text, 2: text, 4: text, 6: text, 7: text, 8: text}),
        pack({5: {f"a{n}": n for n in range(256)}}),
        pack({5: {text: "", "é": -(2**63), "b": 2**63 - 1, "c": b"", "d": "y" * 2_000}}),
        b"\x81\x05\x81\xa1a\xca\x3f\x80\x00\x00",
        b"\x82\xcd\x01\x00\x91\x80\x0a\xc0",
        b"\x81\x03\xc7\x0c\xff" + bytes(4) + b"\xff" * 8,
        Body(payload=bytes(65_536 - 5)).encode(),
    )
    for body in good:
        Body.decode(body)
        receipt = await publisher.publish("good-bodies", body)
        assert receipt.code == 200
    assert len(good[-1]) == 65_536, len(good[-1])


@check("413 for a body over the home's limit, by one byte")
async def _(world: World) -> None:
    client = await world.client("large")
    publisher = await client.publisher()
    body = Body(payload=bytes(65_537 - 5)).encode()
    assert len(body) == 65_537
    await _refused(await publisher.send("large", body), 413)
    assert (await publisher.publish("large", event(1))).code == 200


@check("400 for a topic that is none, by alias and spelled out; 403 below $")
async def _(world: World) -> None:
    client = await world.client("bad-topics")
    publisher = await client.publisher()
    bad = ("", "a/+", "#", "a#", "a\nb", "/".join("a" * 65), "x" * 1_025)
    for topic in bad:
        for spell in (False, True):
            await _refused(await publisher.send(topic, event(1), spell_topic=spell), 400)
    await _refused(await publisher.send("$SYS/x", event(1)), 403)
    for topic in ("/", "a//b", "a/$b", "/".join("a" * 64), "x" * 1_024):
        assert (await publisher.publish(topic, event(1))).code == 200, topic


@check("best effort: refusals come unasked")
async def _(world: World) -> None:
    probe = await Probe.welcomed(world, "best-effort-refused")
    await probe.open_channel()
    large = Body(payload=bytes(65_537)).encode()
    probe.connection.open_stream().write(
        publish(1, 1, b"\xc0", best_effort=True),
        publish(1, 2, best_effort=True),
        publish(1, 3, topic="a/#", best_effort=True),
        publish(1, 4, large, best_effort=True),
    )
    answers = []
    while len(answers) < 3:
        receipts = await probe.expect(Receipts)
        assert receipts.best_effort
        answers += [
            (first, code) for first, last, code, _ in receipts.spans() for _ in range(first, last + 1)
        ]
        assert {exception.sequence for exception in receipts.exceptions} <= {1, 3, 4}
    assert answers == [(1, 400), (3, 400), (4, 413)], answers


@check("425 blocked by N, then skip; 409 for what was skipped; 208 for what is stored; 410 for 0")
async def _(world: World) -> None:
    probe = await Probe.welcomed(world, "blocked")
    await probe.open_channel()
    stream = probe.connection.open_stream()
    stream.write(publish(1, 1), publish(1, 2, b"\xc0"), publish(1, 3))
    answers: dict[int, int] = {}
    reasons: dict[int, str] = {}
    while len(answers) < 3:
        receipts = await probe.expect(Receipts)
        answers |= {s: code for a, b, code, _ in receipts.spans() for s in range(a, b + 1)}
        reasons |= {exception.sequence: exception.reason for exception in receipts.exceptions}
    assert answers == {1: 200, 2: 400, 3: 425}, answers
    assert reasons[3] == "blocked by 2", reasons
    stream.write(Skip(1, 4, 5), publish(1, 3))
    assert await probe.spans(1) == [(3, 425)], "a skip above next changes nothing"
    stream.write(Skip(1, 2, 2), publish(1, 3), publish(1, 2), publish(1, 1), publish(1, 0))
    assert sorted(await probe.spans(4)) == [(0, 410), (1, 208), (2, 409), (3, 200)]
    stream.write(Skip(1, 1, 3), publish(1, 4), Skip(1, 3, 9), publish(1, 10))
    assert await probe.spans(2) == [(4, 200), (10, 200)]
    stream.write(publish(1, 4), publish(1, 7), publish(1, 12))
    assert sorted(await probe.spans(3)) == [(4, 208), (7, 409), (12, 425)]


@check("a home remembers 64 skipped ranges; below those it cannot tell (410)")
async def _(world: World) -> None:
    probe = await Probe.welcomed(world, "skips")
    await probe.open_channel()
    stream = probe.connection.open_stream()
    for n in range(1, 67):
        stream.write(Skip(1, 2 * n - 1, 2 * n - 1), publish(1, 2 * n))
    assert await probe.spans(66) == [(2 * n, 200) for n in range(1, 67)]
    stream.write(publish(1, 1), publish(1, 131))
    assert sorted(await probe.spans(2)) == [(1, 410), (131, 409)]


@check("a resent event may change nothing: 200 stands, the first body is delivered")
async def _(world: World) -> None:
    subscription = await (await world.client("resent-in")).subscribe("resent", wait="home")
    probe = await Probe.welcomed(world, "resent")
    await probe.open_channel()
    stream = probe.connection.open_stream()
    stream.write(publish(1, 1, event(1).encode(), "resent"), publish(1, 1, event(9).encode(), "resent"))
    stream.write(publish(1, 2, event(2).encode(), "resent"))
    assert sorted(await probe.spans(3)) == [(1, 200), (1, 208), (2, 200)]
    assert await numbers(subscription, 2) == [1, 2]


@check("two channels over one stream have their own epochs and sequences")
async def _(world: World) -> None:
    probe = await Probe.welcomed(world, "two-channels")
    first, second = await probe.open_channel(), await probe.open_channel()
    assert first.epoch != second.epoch and (first.next, second.next) == (1, 1)
    probe.connection.open_stream().write(publish(1, 1), publish(2, 1), publish(1, 2))
    answers: list[tuple[int, int]] = []
    while len(answers) < 3:
        receipts = await probe.expect(Receipts)
        answers += [
            (receipts.channel, s)
            for a, b, code, _ in receipts.spans()
            for s in range(a, b + 1)
            if code == 200
        ]
    assert sorted(answers) == [(1, 1), (1, 2), (2, 1)], answers


@check("resume on another connection: 208 below next, the rest is sent; next is kept for a new program")
async def _(world: World) -> None:
    reader = await world.client("resume-in")
    subscription = await reader.subscribe("resume", durable="resume", wait="home")
    first = await world.client("resume")
    publisher = await first.publisher()
    assert (await publisher.publish("resume", event(1))).code == 200
    outcomes = [await publisher.send("resume", event(n)) for n in range(2, 400)]
    first.connection.abandon()
    assert publisher.outstanding == 398
    outcomes.append(await publisher.send("resume", event(400)))
    await publisher.attach(await world.client("resume"))
    receipts = await asyncio.wait_for(asyncio.gather(*outcomes), BOUND_SECONDS)
    assert {receipt.code for receipt in receipts} <= {200, 208}
    assert receipts[-1].sequence == 400 and receipts[-1].code == 200
    assert await numbers(subscription, 400) == list(range(1, 401))
    later = await (await world.client("resume")).publisher(resume=publisher.epoch)
    assert later.next == 401, later.next
