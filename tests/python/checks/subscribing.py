"""Subscriptions: what matches, credit, gaps, refusals (PROTOCOL.md 4.2, 5.4, 5.5, 5.7)."""

from __future__ import annotations

import time

import msgpack

from fanal import Body, Gap, Timestamp
from fanal.frames import Credit, Detach, RefusedFrame, Subscribe, Subscribed
from fanal.topics import is_filter, is_topic, matches
from fanal.wire import pack

from .support import BOUND_SECONDS, Probe, World, check, event, must_refuse, numbers, publish, take

_BODY = Body(
    id="e-1",
    source="/till/7",
    time=Timestamp(1_356_998_400),
    attributes={
        "flag": True,
        "count": -70_000,
        "big": 2**53 + 1,
        "ratio": 0.5,
        "region": "eu-west",
        "blob": b"\x00\x01",
        "when": Timestamp(1_700_000_000, 5),
    },
)

_TRUE = (
    "flag",
    "flag = TRUE",
    "count = -70000",
    "count < 0 AND count > -70001",
    "big = 9007199254740993",
    "big != 9007199254740992.0",
    "ratio = 0.5",
    "ratio BETWEEN 0 AND 1",
    "region = 'eu-west'",
    'region LIKE "eu-%"',
    "region NOT LIKE '_u'",
    "region IN ('us', 'eu-west')",
    "count NOT IN (1, 2)",
    "blob IS NOT NULL",
    "EXISTS blob",
    "missing IS NULL",
    "NOT (EXISTS missing)",
    "when = TIMESTAMP('2023-11-14T22:13:20.000000005Z')",
    "when > TIMESTAMP('2023-11-14T22:13:20Z')",
    "id = 'e-1' AND source = '/till/7' AND topic = 'predicates/a'",
    "time = TIMESTAMP('2013-01-01T00:00:00Z')",
    "flag XOR (count > 0)",
    "(missing = 1) OR flag",
)

_NOT_TRUE = (
    "flag = FALSE",
    "count > 0",
    "big = 9007199254740992.0",
    "ratio > 0.5",
    "region = 'EU-WEST'",
    "region LIKE 'eu'",
    "blob IS NULL",
    "missing = 1",
    "missing != 1",
    "NOT (missing = 1)",
    "count = '-70000'",
    "region > 5",
    "EXISTS missing",
    "when < TIMESTAMP('2023-11-14T22:13:20Z')",
    "id = 'other'",
    "topic = 'predicates/b'",
)


@check("predicates over every type of attribute and the core fields, true and not true")
async def _(world: World) -> None:
    client = await world.client("predicates")
    matching = [await client.subscribe("predicates/+", predicate=text, wait="home") for text in _TRUE]
    others = [await client.subscribe("predicates/+", predicate=text, wait="home") for text in _NOT_TRUE]
    publisher = await client.publisher()
    await publisher.publish("predicates/a", _BODY)
    for text, subscription in zip(_TRUE, matching, strict=True):
        try:
            (delivery,) = await take(subscription, 1)
        except TimeoutError:
            raise AssertionError(f"{text} does not match") from None
        assert delivery.body == _BODY, delivery.body
    await client.ping()
    wrong = [
        text for text, subscription in zip(_NOT_TRUE, others, strict=True) if not subscription.is_empty()
    ]
    assert not wrong, wrong


@check("a delivery says topic, publisher, epoch, sequence and when it was accepted")
async def _(world: World) -> None:
    client = await world.client("envelope")
    subscription = await client.subscribe("envelope", durable="envelope", wait="home")
    publisher = await client.publisher()
    for n in range(1, 4):
        await publisher.publish("envelope", event(n))
    deliveries = await take(subscription, 3)
    assert [d.sequence for d in deliveries] == [1, 2, 3]
    assert [d.mailbox_sequence for d in deliveries] == sorted({d.mailbox_sequence for d in deliveries})
    first = deliveries[0]
    assert first.publisher == client.welcome.publisher and first.epoch == publisher.epoch
    assert first.id == f"{first.publisher}:{first.epoch}:1"
    assert abs(first.accepted_ms - time.time() * 1000) < 60_000
    assert first.attempt is None and not first.best_effort


@check("the body comes byte for byte, unknown keys and long forms included")
async def _(world: World) -> None:
    client = await world.client("bytes")
    subscription = await client.subscribe("bytes", wait="home")
    bodies = (
        b"\x80",
        b"\xde\x00\x00",
        b"\xdf\x00\x00\x00\x01\xcd\x00\x09\xc6\x00\x00\x00\x01x",
        b"\x82\x09\xc4\x01x\x01\xd9\x01i",
        pack({77: [None, {"a": [1.5]}], 9: b"p"}),
        pack({5: {"t": msgpack.Timestamp(1), "f": 1.0}, 0: "zero"}),
    )
    publisher = await client.publisher()
    for body in bodies:
        await publisher.publish("bytes", body)
    deliveries = await take(subscription, len(bodies))
    assert tuple(delivery.body_bytes for delivery in deliveries) == bodies
    assert all(isinstance(delivery.body, Body) for delivery in deliveries)


@check("topic filters: +, #, empty levels, $, exclusions, as this package's own matching says")
async def _(world: World) -> None:
    client = await world.client("filters")
    filters = (
        "filters/+",
        "filters/#",
        "filters/+/c",
        "filters//c",
        "filters",
        "+/a",
        "#",
        "$x/#",
        "filters/a/#",
    )
    topics = ("filters", "filters/", "filters/a", "filters/a/c", "filters//c", "filters/$x", "filters/a/b/c")
    assert all(map(is_filter, filters)) and all(map(is_topic, topics))
    asked = [await client.subscribe(text, wait="home", predicate="EXISTS filters") for text in filters]
    publisher = await client.publisher()
    for topic in topics:
        await publisher.publish(topic, Body(attributes={"filters": True}))
    for text, subscription in zip(filters, asked, strict=True):
        expected = [topic for topic in topics if matches(text, topic)]
        assert [d.topic for d in await take(subscription, len(expected))] == expected, text
    excluding = await client.subscribe("filters/#", excluded=("filters/a/#", "filters"), wait="home")
    for topic in topics:
        await publisher.publish(topic, event(1))
    expected = [t for t in topics if not matches("filters/a/#", t) and t != "filters"]
    assert [d.topic for d in await take(excluding, len(expected))] == expected


@check("an event that matches two subscriptions of one connection comes twice")
async def _(world: World) -> None:
    client = await world.client("both")
    live = await client.subscribe("both/#", wait="home")
    durable = await client.subscribe("both/a", durable="both", wait="home")
    publisher = await client.publisher()
    for n in range(100):
        await publisher.send("both/a", event(n))
    assert await numbers(live, 100) == await numbers(durable, 100) == list(range(100))


@check("400 bad_topic_filter, bad_wait, bad_durable_name, channel_in_use; 413 too_many_exclusions")
async def _(world: World) -> None:
    client = await world.client("bad-asks")
    for text in ("", "a/#/b", "a+", "a#", "a\x00", "/".join("a" * 65), "x" * 1_025):
        assert not is_filter(text)
        await must_refuse(client.subscribe(text, wait="home"), 400, "bad_topic_filter")
    await must_refuse(client.subscribe("a", excluded=("b#",), wait="home"), 400, "bad_topic_filter")
    many = tuple(f"b/{n}" for n in range(65))
    await must_refuse(client.subscribe("a", excluded=many, wait="home"), 413, "too_many_exclusions")
    for wait in ("everybody", "Home", ""):
        await must_refuse(client.subscribe("a", wait=wait), 400, "bad_wait")
    for name in ("", "a\nb", "n" * 129):
        await must_refuse(client.subscribe("a", durable=name, wait="home"), 400, "bad_durable_name")
    probe = await Probe.welcomed(world, "bad-channels")
    await probe.ask(Subscribe(5, "a", wait="home"), Subscribed)
    for number in (5, 0, 4_294_967_295):
        refused = await probe.ask(Subscribe(number, "a", wait="home"), RefusedFrame)
        assert (refused.request, refused.code, refused.name) == (number, 400, "channel_in_use")


@check("422 filter_refused: position, what was expected, both readings of what is ambiguous")
async def _(world: World) -> None:
    client = await world.client("bad-predicates")

    async def refused(text: str, *words: str) -> None:
        await must_refuse(client.subscribe("a", predicate=text, wait="home"), 422, "filter_refused", *words)

    await refused("amount >", "1:9", "expected a value")
    await refused("amount > 1 AND\n  %", "2:3")
    await refused("a = 1 AND b = 2 OR c = 3", "(")
    await refused("NOT a = b", "(")
    await refused("", "")
    await refused("(" * 65 + "a" + ")" * 65)
    await refused("a = '" + "x" * 16_384 + "'")
    await refused(" OR ".join("a" for _ in range(5_000)))


@check("429 too_many_channels for subscriptions; Detach makes room, the connection goes on")
async def _(world: World) -> None:
    client = await world.client("many-subscriptions")
    asked = [await client.subscribe(f"many/{n}", wait="home") for n in range(64)]
    await must_refuse(client.subscribe("one-more", wait="home"), 429, "too_many_channels")
    asked[0].detach()
    await client.subscribe("one-more", wait="home")


@check("409 filter_differs; another spelling with the same canonical text resumes")
async def _(world: World) -> None:
    client = await world.client("differs")

    async def ask(filter: str = "d/#", predicate: str | None = "a > 1 and b = 'x'", **more: object) -> bool:
        subscription = await client.subscribe(filter, predicate=predicate, durable="d", wait="home", **more)
        subscription.detach()
        assert subscription.receipt is not None
        return subscription.receipt.resumed

    excluded = ("d/a", "d/b")
    assert not await ask(excluded=excluded)
    assert await ask(predicate='  a>1   AND b="x" ', excluded=("d/b", "d/a", "d/b"))
    for other in ({"filter": "d/+"}, {"predicate": "a > 2 and b = 'x'"}, {"predicate": None}):
        await must_refuse(ask(**{"excluded": excluded, **other}), 409, "filter_differs")
    await must_refuse(ask(excluded=("d/a",)), 409, "filter_differs")


@check("strict mode: casts and functions, errors do not match, the mode is part of the filter")
async def _(world: World) -> None:
    client = await world.client("strict")
    assert client.welcome.strict
    true = ["amount > '100'", "UPPER(city) = 'PARIS' AND express", "FALSE AND FALSE OR EXISTS express"]
    not_true = ["amount", "gone = 1 OR TRUE", "NOT (gone = 1)", "TRUE OR TRUE AND FALSE", "amount / 0 = 0"]
    matching = [await client.subscribe("strict/+", strict=text, wait="home") for text in true]
    others = [await client.subscribe("strict/+", strict=text, wait="home") for text in not_true]
    publisher = await client.publisher()
    await publisher.publish("strict/a", Body(attributes={"amount": 250, "city": "Paris", "express": True}))
    for subscription in matching:
        await take(subscription, 1)
    await client.ping()
    assert all(subscription.is_empty() for subscription in others)
    for text, *words in (("a BETWEEN 1 AND 2", "1:3"), ("NOSUCH(1)", "1:1"), ("5", "1:1")):
        await must_refuse(client.subscribe("a", strict=text, wait="home"), 422, "filter_refused", *words)
    both = client.subscribe("a", predicate="a = 1", strict="a = 1", wait="home")
    await must_refuse(both, 422, "filter_refused", "one of them")
    kept = await client.subscribe("k", strict="n=1", durable="k", wait="home")
    kept.detach()
    default = client.subscribe("k", predicate="n = 1", durable="k", wait="home")
    await must_refuse(default, 409, "filter_differs", "--strict")
    again = await client.subscribe("k", strict="n  =  1", durable="k", wait="home")
    assert again.receipt.resumed
    await client.update_subscription("k", "k", predicate="n = 1")
    await must_refuse(client.subscribe("k", strict="n = 1", durable="k", wait="home"), 409, "filter_differs")


@check("names of durable subscriptions are their principal's own")
async def _(world: World) -> None:
    for name in ("owner-a", "owner-b"):
        subscription = await (await world.client(name)).subscribe(f"own/{name}", durable="same", wait="home")
        assert subscription.receipt is not None and not subscription.receipt.resumed


@check("credit: nothing without, totals for events and bytes, a lower total changes nothing")
async def _(world: World) -> None:
    client = await world.client("credit")
    publisher = await client.publisher()
    probe = await Probe.welcomed(world, "credit-probe")
    await probe.ask(Subscribe(1, "credit", durable="credit", wait="home"), Subscribed)
    await probe.ask(Subscribe(2, "credit", wait="home", credit_events=100, credit_bytes=150), Subscribed)
    bodies = [Body(payload=bytes(95)) for _ in range(6)]
    assert len(bodies[0].encode()) == 100 - 1
    for body in bodies:
        await publisher.publish("credit", body)

    async def channels(count: int) -> list[int]:
        return [(await probe.connection.unless_ended(probe.items.get())).channel for _ in range(count)]

    async def nothing_more() -> None:
        await probe.connection.ping()
        assert probe.items.empty(), probe.items.get_nowait()

    assert await channels(2) == [2, 2], "150 bytes let a second event of 99 bytes begin"
    await nothing_more()
    probe.connection.send(Credit(1, 3, 10_000), Credit(2, 1, 1))
    assert await channels(3) == [1, 1, 1]
    await nothing_more()
    probe.connection.send(Credit(1, 2, 9_000), Credit(1, 6, 10_000), Credit(2, 100, 10_000))
    assert sorted(await channels(7)) == [1, 1, 1, 2, 2, 2, 2]
    probe.connection.end()


@check("a full live buffer: the oldest are dropped, the gap says exactly how many, nobody waits")
async def _(world: World) -> None:
    client = await world.client("gap")
    subscription = await client.subscribe("gap", wait="home", credit_events=0)
    publisher = await client.publisher()
    outcomes = [await publisher.send("gap", Body(id=str(n), payload=bytes(1_000))) for n in range(200)]
    for outcome in outcomes:
        assert (await outcome).code == 200
    subscription.grant(1_000, 10_000_000)
    missing, got = 0, []
    while not got or got[-1] != 199:
        item = await subscription.next(BOUND_SECONDS)
        if isinstance(item, Gap):
            assert (item.kind, item.reason, item.broker) == (0, "slow_consumer", ""), item
            missing += item.count
        else:
            got.append(int(item.id))
    assert missing > 0 and missing + len(got) == 200, (missing, len(got))
    assert got == list(range(200 - len(got), 200)), got


@check("best effort reaches a durable subscription while it is attached, without a mailbox sequence")
async def _(world: World) -> None:
    client = await world.client("best-durable")
    subscription = await client.subscribe("bd", durable="bd", wait="home")
    publisher = await client.publisher()
    publisher.send_best_effort("bd", event(1))
    (delivery,) = await take(subscription, 1)
    assert delivery.best_effort and delivery.mailbox_sequence is None
    subscription.detach()
    outcome = publisher.send_best_effort("bd", event(2), receipt=True)
    assert outcome is not None and (await outcome).code == 202
    again = await client.subscribe("bd", durable="bd", wait="home")
    await publisher.publish("bd", event(3))
    assert await numbers(again, 1) == [3]


@check("after Detach nothing comes on the channel; its deltas still count for the others")
async def _(world: World) -> None:
    client = await world.client("detach")
    one = await client.subscribe("detach", wait="home")
    two = await client.subscribe("detach", wait="home")
    publisher = await client.publisher()
    await publisher.publish("detach", event(1))
    await take(two, 1)
    one.detach()
    for n in range(2, 52):
        await publisher.send("detach", event(n))
    deliveries = await take(two, 50)
    assert [d.sequence for d in deliveries] == list(range(2, 52))


@check("Subscribed may come after Detach; the client copes")
async def _(world: World) -> None:
    probe = await Probe.welcomed(world, "late-subscribed")
    ask = Subscribe(1, "late", wait="broker:nowhere", wait_ms=300, credit_events=5, credit_bytes=500)
    probe.connection.send(ask, Detach(channel=1), Subscribe(2, "late", wait="home"))
    seen = {(await probe.expect(Subscribed)).channel}
    await probe.connection.ping()
    assert 2 in seen or (await probe.expect(Subscribed)).channel == 2
    probe.connection.end()


@check("a wait for a broker that nobody knows ends in time and lists it as pending")
async def _(world: World) -> None:
    client = await world.client("pending")
    subscription = await client.subscribe("pending", wait="broker:nowhere", wait_ms=50)
    receipt = subscription.receipt
    assert receipt is not None and "ewr" == receipt.home == receipt.installed[0], receipt
    assert "nowhere" in [pending.broker for pending in receipt.pending if pending.reason], receipt


@check("404 no_subscription: to remove or update one that does not exist")
async def _(world: World) -> None:
    client = await world.client("no-subscription")
    await must_refuse(client.remove_subscription("nobody"), 404, "no_subscription")
    await must_refuse(client.update_subscription("nobody", "a"), 404, "no_subscription")


@check("update: what is queued stays, later events go by the new filter; refusals as for Subscribe")
async def _(world: World) -> None:
    client = await world.client("update")
    subscription = await client.subscribe("u/old", durable="u", wait="home", credit_events=0)
    publisher = await client.publisher()
    await publisher.publish("u/old", event(1))
    await must_refuse(client.update_subscription("u", "u/#/x"), 400, "bad_topic_filter")
    await must_refuse(client.update_subscription("u", "u", "a >"), 422, "filter_refused")
    await client.update_subscription("u", "u/+", "n = 2", ("u/old",))
    for topic, n in (("u/old", 2), ("u/new", 2), ("u/new", 3)):
        await publisher.publish(topic, event(n, attributes={"n": n}))
    subscription.grant(10, 10_000)
    assert [d.topic for d in await take(subscription, 2)] == ["u/old", "u/new"]
    same = await client.subscribe("u/+", predicate="n=2", excluded=("u/old",), durable="u", wait="home")
    assert same.receipt is not None and same.receipt.resumed


@check("400 for a publish on a channel that is a subscription")
async def _(world: World) -> None:
    probe = await Probe.welcomed(world, "wrong-kind")
    await probe.ask(Subscribe(1, "wrong", wait="home"), Subscribed)
    probe.connection.open_stream().write(publish(1, 1))
    await probe.expect_close(400)
