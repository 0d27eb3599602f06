"""Durable subscriptions: ack, redelivery, takeover, removal (PROTOCOL.md 5.4, 5.7, 5.8)."""

from __future__ import annotations

import asyncio

from fanal import ChannelClosed, ConnectionEnded
from fanal.frames import Ack, Acked, Subscribe, Subscribed

from .support import BOUND_SECONDS, Probe, World, check, event, must_refuse, numbers, take


@check("Acked answers an Ack with its ranges, those that span numbers that never came too")
async def _(world: World) -> None:
    publisher = await (await world.client("acked-out")).publisher()
    probe = await Probe.welcomed(world, "acked")
    ask = Subscribe(1, "acked", durable="acked", wait="home", credit_events=100, credit_bytes=10_000)
    await probe.ask(ask, Subscribed)
    for n in range(5):
        await publisher.publish("acked", event(n), ttl_ms=600_000)
        await asyncio.wait_for(probe.items.get(), BOUND_SECONDS)
    for ranges in (((1, 1), (3, 4)), ((1, 1),), ((1, 5),), ((2, 5),)):
        acked = await probe.ask(Ack(1, ranges), Acked)
        assert acked.channel == 1 and acked.ranges == ranges, acked
    probe.connection.end()


@check("an awaited ack holds: nothing acked comes again, everything else does, marked and in order")
async def _(world: World) -> None:
    publisher = await (await world.client("held-out")).publisher()
    first = await world.client("held")
    subscription = await first.subscribe("held", durable="held", wait="home")
    for n in range(100):
        await publisher.send("held", event(n))
    deliveries = await take(subscription, 100)
    acked = [d for d in deliveries if int(d.body.payload) % 3 == 0]
    await asyncio.wait_for(subscription.ack(*acked), BOUND_SECONDS)
    first.connection.abandon()
    for n in range(100, 110):
        await publisher.send("held", event(n))
    again = await (await world.client("held")).subscribe("held", durable="held", wait="home")
    assert again.receipt is not None and again.receipt.resumed
    redelivered = await take(again, 66 + 10)
    assert [int(d.body.payload) for d in redelivered] == [n for n in range(110) if n % 3 or n >= 100]
    known = {d.mailbox_sequence: d.body_bytes for d in deliveries}
    assert all(known[d.mailbox_sequence] == d.body_bytes for d in redelivered[:66])
    assert all(d.attempt == 2 for d in redelivered[:66]), redelivered[0]


@check("resume in one program after its connection was lost: each event once, the lost ack repeated")
async def _(world: World) -> None:
    publisher = await (await world.client("once-out")).publisher()
    first = await world.client("once")
    subscription = await first.subscribe("once", durable="once", wait="home")
    for n in range(300):
        await publisher.send("once", event(n))
    in_hand = await take(subscription, 120)
    unconfirmed = subscription.ack(*in_hand[:50])
    first.connection.abandon()
    assert not unconfirmed.done()
    try:
        while True:
            in_hand.append(await subscription.next(BOUND_SECONDS))
    except ConnectionEnded:
        pass
    await subscription.resume(await world.client("once"))
    await asyncio.wait_for(unconfirmed, BOUND_SECONDS)
    await publisher.publish("once", event(300))
    rest = await take(subscription, 301 - len(in_hand))
    payloads = [int(d.body.payload) for d in (*in_hand, *rest)]
    assert payloads == list(range(301))
    assert subscription.redelivered >= 70, subscription.redelivered
    await asyncio.wait_for(subscription.ack(*in_hand[50:], *rest), BOUND_SECONDS)
    await publisher.publish("once", event(301))
    again = await (await world.client("once")).subscribe("once", durable="once", wait="home")
    assert await numbers(again, 1) == [301]


@check("409 taken_over: the first holder is told, its acks are ignored, the second goes on")
async def _(world: World) -> None:
    publisher = await (await world.client("taken-out")).publisher()
    first = await world.client("taken")
    holder = await first.subscribe("taken", durable="taken", wait="home")
    await publisher.publish("taken", event(1))
    (held,) = await take(holder, 1)
    second = await (await world.client("taken")).subscribe("taken", durable="taken", wait="home")
    try:
        await holder.next(BOUND_SECONDS)
        raise AssertionError("the first holder goes on")
    except ChannelClosed as closed:
        assert (closed.code, closed.name) == (409, "taken_over"), closed
    (again,) = await take(second, 1)
    assert again.mailbox_sequence == held.mailbox_sequence and again.attempt == 2
    await first.ping()
    live = await first.subscribe("taken", wait="home")
    await publisher.publish("taken", event(2))
    assert await numbers(second, 1) == await numbers(live, 1) == [2]


@check("a takeover within one connection")
async def _(world: World) -> None:
    client = await world.client("taken-here")
    first = await client.subscribe("here", durable="here", wait="home")
    second = await client.subscribe("here", durable="here", wait="home")
    try:
        await first.next(BOUND_SECONDS)
        raise AssertionError("the first channel goes on")
    except ChannelClosed as closed:
        assert closed.name == "taken_over"
    publisher = await client.publisher()
    await publisher.publish("here", event(1))
    assert await numbers(second, 1) == [1]


@check("removal: ChannelClosed 404 removed, the queue is gone, the same name begins anew at 1")
async def _(world: World) -> None:
    client = await world.client("removed")
    subscription = await client.subscribe("removed", durable="removed", wait="home")
    publisher = await client.publisher()
    for n in range(10):
        await publisher.publish("removed", event(n))
    await take(subscription, 10)
    await client.remove_subscription("removed")
    try:
        await subscription.next(BOUND_SECONDS)
        raise AssertionError("a removed subscription goes on")
    except ChannelClosed as closed:
        assert (closed.code, closed.name) == (404, "removed"), closed
    await must_refuse(client.remove_subscription("removed"), 404, "no_subscription")
    await publisher.publish("removed", event(10))
    await subscription.resume(client)
    assert subscription.receipt is not None and not subscription.receipt.resumed
    await publisher.publish("removed", event(11))
    (delivery,) = await take(subscription, 1)
    assert (delivery.mailbox_sequence, delivery.body.payload) == (1, b"11"), delivery


@check("after Detach and reattach: what was not acked comes again, in mailbox order")
async def _(world: World) -> None:
    client = await world.client("reattach")
    subscription = await client.subscribe("reattach", durable="reattach", wait="home", credit_events=5)
    publisher = await client.publisher()
    for n in range(10):
        await publisher.publish("reattach", event(n))
    first = await take(subscription, 4)
    await asyncio.wait_for(subscription.ack(first[1]), BOUND_SECONDS)
    subscription.detach()
    again = await client.subscribe("reattach", durable="reattach", wait="home")
    assert await numbers(again, 9) == [0, *range(2, 10)]
