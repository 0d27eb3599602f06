"""Two brokers and the command line, as this client sees them (PROTOCOL.md 5.5, 5.7, 6.4)."""

from __future__ import annotations

import asyncio
import json

from fanal import Body, Delivery, Gap, Timestamp

from .support import BOUND_SECONDS, World, check, event, numbers, take


@check("an interest receipt names both brokers; what is published at the peer comes, live and durable")
async def _(world: World) -> None:
    there, here = await world.client("far-in", world.peer), await world.client("far-out")
    live = await there.subscribe("far/#", predicate="n > 9", wait="peers")
    durable = await there.subscribe("far/+", predicate="n > 9", durable="far", wait="broker:ewr")
    for subscription in (live, durable):
        receipt = subscription.receipt
        assert receipt is not None and receipt.home == "jfk" and not receipt.pending, receipt
        assert receipt.installed[0] == "jfk" and "ewr" in receipt.installed, receipt
    publisher = await here.publisher()
    outcomes = [await publisher.send("far/a", event(n, attributes={"n": n})) for n in range(200)]
    receipts = await asyncio.gather(*outcomes)
    assert [receipt.destinations for receipt in receipts] == [0] * 10 + [1] * 190
    for subscription in (live, durable):
        deliveries = await take(subscription, 190)
        assert [int(d.body.payload) for d in deliveries] == list(range(10, 200))
        assert deliveries[0].publisher == here.welcome.publisher and deliveries[0].epoch == publisher.epoch
        assert [d.sequence for d in deliveries] == list(range(11, 201))


@check("best effort and a TTL cross a link")
async def _(world: World) -> None:
    there, here = await world.client("far-best-in", world.peer), await world.client("far-best-out")
    subscription = await there.subscribe("far-best", wait="peers")
    publisher = await here.publisher()
    publisher.send_best_effort("far-best", event(1), ttl_ms=60_000)
    (delivery,) = await take(subscription, 1)
    assert delivery.best_effort and delivery.ttl_ms is not None and 0 < delivery.ttl_ms <= 60_000


@check("a publisher here and a subscriber there, the other way round")
async def _(world: World) -> None:
    here, there = await world.client("back-in"), await world.client("back-out", world.peer)
    subscription = await here.subscribe("back", durable="back", wait="peers")
    publisher = await there.publisher()
    for n in range(50):
        await publisher.send("back", event(n))
    assert await numbers(subscription, 50) == list(range(50))


@check("`fanal publish` to this subscriber: attributes, core fields, payload")
async def _(world: World) -> None:
    client = await world.client("from-cli")
    subscription = await client.subscribe("cli/#", predicate="amount > 100 AND express", wait="home")
    for amount in (50, 250):
        arguments = ("publish", "cli/eu", '{"item":"lamp"}', "-a", f"amount={amount}", "-a", "express=true")
        more = (
            "-a",
            "ratio=0.5",
            "-a",
            "who=me",
            "--id",
            f"id-{amount}",
            "--source",
            "/till/7",
            "--key",
            "k",
        )
        times = ("--time", "2013-01-01T10:00:00Z", "--content-type", "application/json", "--ttl", "1h")
        process = await world.cli(*arguments, *more, *times)
        _, stderr = await process.communicate()
        assert process.returncode == 0, stderr
    (delivery,) = await take(subscription, 1)
    assert delivery.topic == "cli/eu" and delivery.ttl_ms is not None
    assert delivery.body == Body(
        id="id-250",
        source="/till/7",
        time=Timestamp(1_357_034_400),
        ordering_key="k",
        attributes={"amount": 250, "express": True, "ratio": 0.5, "who": "me"},
        content_type="application/json",
        payload=b'{"item":"lamp"}',
    ), delivery.body


@check("this publisher to `fanal subscribe --output json`: every field, in order")
async def _(world: World) -> None:
    filter = ("subscribe", "to-cli/#", "--where", "n >= 1", "--durable", "to-cli")
    process = await world.cli(*filter, "--count", "3", "--output", "json")
    assert process.stderr is not None and process.stdout is not None
    receipt = json.loads(await asyncio.wait_for(process.stderr.readline(), BOUND_SECONDS))
    assert "ewr" in receipt["installed"], receipt
    publisher = await (await world.client("to-cli")).publisher()
    await publisher.publish("to-cli/a", event(0, attributes={"n": 0}))
    attributes = {"n": 1, "flag": False, "ratio": 1.5, "who": "é"}
    body = Body(id="x", source="/s", time=Timestamp(0), attributes=attributes, content_type="text/plain")
    await publisher.publish("to-cli/a", Body(**{**vars(body), "payload": b"hello"}))
    await publisher.publish("to-cli/b", Body(attributes={"n": 2}, payload=b"\xff\x00"))
    await publisher.publish(
        "to-cli/b", Body(attributes={"n": 3}, payload=b'{"a":[1]}', content_type="application/json")
    )
    stdout, _ = await asyncio.wait_for(process.communicate(), BOUND_SECONDS)
    first, second, third = (json.loads(line) for line in stdout.splitlines())
    assert (first["id"], first["source"], first["topic"], first["data"]) == ("x", "/s", "to-cli/a", "hello")
    assert first["attributes"] == attributes and first["time"].startswith("1970-01-01T00:00:00"), first
    assert first["sequence"] == 2 and first["redelivered"] is False
    assert second["data_base64"] == "/wA=" and second["id"].endswith(":3"), second
    assert third["data"] == {"a": [1]}, third
    assert process.returncode == 0


@check("kill -9 of the peer: a live subscription is told link_lost, and what comes later still comes")
async def _(world: World) -> None:
    client = await world.client("link-lost")
    live = await client.subscribe("lost/#", wait="peers")
    durable = await client.subscribe("lost/#", durable="lost", wait="peers")
    await world.ask("crash peer")
    gap = await live.next(BOUND_SECONDS)
    assert isinstance(gap, Gap) and (gap.kind, gap.reason, gap.broker) == (2, "link_lost", "jfk"), gap
    again = await client.subscribe("lost/again", wait="broker:jfk", wait_ms=15_000)
    assert again.receipt is not None and "jfk" in again.receipt.installed, again.receipt
    publisher = await (await world.client("link-lost-out", world.peer)).publisher()
    await publisher.publish("lost/again", event(1))
    for subscription in (live, durable, again):
        item = await subscription.next(BOUND_SECONDS)
        assert isinstance(item, Delivery) and item.body.payload == b"1", item
