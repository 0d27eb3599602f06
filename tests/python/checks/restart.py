"""What outlives a kill -9 of the home: the epoch, mailboxes, acks, the key of stateless resets
(PROTOCOL.md 2.1, 5.1, 5.6, 5.7). These checks come last, since they end every connection."""

from __future__ import annotations

import asyncio

from fanal import Client, ConnectionEnded
from fanal.frames import Ack, OpenPublish, PublishOpened, Subscribe, Subscribed

from .support import BOUND_SECONDS, Probe, World, check, event, numbers, publish, take


async def _came_untaken(subscription: object) -> list[int]:
    """Takes what had come before the connection ended."""
    payloads: list[int] = []
    try:
        while True:
            (delivery,) = await take(subscription, 1)  # type: ignore[arg-type]
            payloads.append(int(delivery.body.payload))
    except ConnectionEnded:
        return payloads


@check("kill -9 and restart: epoch and durable subscription go on, none lost, none twice, acks hold")
async def _(world: World) -> None:
    reader, writer = await world.client("crash-in"), await world.client("crash-out")
    subscription = await reader.subscribe("crash", durable="crash", wait="home")
    publisher = await writer.publisher()
    stored = [await publisher.publish("crash", event(n)) for n in range(20)]
    assert [receipt.code for receipt in stored] == [200] * 20
    before = await take(subscription, 20)
    await asyncio.wait_for(subscription.ack(*before[:8], *before[10:12]), BOUND_SECONDS)
    under_way = [await publisher.send("crash", event(n)) for n in range(20, 600)]
    lost_acks = subscription.ack(before[9])
    await world.ask("crash home")
    incarnation = reader.welcome.incarnation
    for client in (reader, writer):
        client.connection.abandon()
    payloads = [int(d.body.payload) for d in before] + await _came_untaken(subscription)

    second = await world.client("crash-out")
    now = second.welcome.incarnation
    assert (now.store, now.recovery_epoch) == (incarnation.store, incarnation.recovery_epoch)
    assert now.start > incarnation.start, (now, incarnation)
    await publisher.attach(second)
    assert publisher.resumed_at is not None and publisher.resumed_at >= 21
    receipts = await asyncio.wait_for(asyncio.gather(*under_way), BOUND_SECONDS)
    for receipt in receipts:
        assert receipt.code in (200, 208), receipt
    assert [receipt.sequence for receipt in receipts] == list(range(21, 601))
    assert (await publisher.publish("crash", event(600))).sequence == 601

    await subscription.resume(await world.client("crash-in"))
    assert subscription.receipt is not None and subscription.receipt.resumed
    payloads += await numbers(subscription, 601 - len(payloads))
    assert payloads == list(range(601)), payloads[:30]
    await asyncio.wait_for(lost_acks, BOUND_SECONDS)
    other = await (await world.client("crash-in")).subscribe("crash", durable="crash", wait="home")
    expected = [8, *range(12, 601)]
    assert await numbers(other, len(expected)) == expected


@check("kill -9 and restart: 208 for what is stored, 425 above next, 409 for what was skipped")
async def _(world: World) -> None:
    probe = await Probe.welcomed(world, "crash-raw")
    opened = await probe.open_channel()
    stream = probe.connection.open_stream()
    stream.write(*(publish(1, n) for n in range(1, 6)))
    assert await probe.spans(5) == [(n, 200) for n in range(1, 6)]
    await world.ask("crash home")
    probe.connection.abandon()
    probe = await Probe.welcomed(world, "crash-raw")
    resumed = await probe.ask(OpenPublish(1, opened.epoch), PublishOpened)
    assert (resumed.epoch, resumed.next) == (opened.epoch, 6), resumed
    probe.connection.open_stream().write(publish(1, 5), publish(1, 7), publish(1, 6), publish(1, 7))
    assert sorted(await probe.spans(4)) == [(5, 208), (6, 200), (7, 200), (7, 425)]
    fresh = await probe.ask(OpenPublish(2), PublishOpened)
    assert fresh.epoch.counter > opened.epoch.counter and fresh.next == 1


@check("a home that was restarted says so at once, by a stateless reset")
async def _(world: World) -> None:
    client = await Client.connect(world.credentials("reset"))
    await world.ask("crash home")
    try:
        await asyncio.wait_for(client.ping(), BOUND_SECONDS)
        raise AssertionError("a home that was killed answers")
    except ConnectionEnded as ended:
        assert "stateless reset" in ended.reason, ended


@check("redelivery after a restart is recognised by its mailbox sequence alone")
async def _(world: World) -> None:
    publisher = await (await world.client("numbered-out")).publisher()
    probe = await Probe.welcomed(world, "numbered")
    ask = Subscribe(1, "numbered", durable="numbered", wait="home", credit_events=100, credit_bytes=10_000)
    await probe.ask(ask, Subscribed)
    for n in range(3):
        await publisher.publish("numbered", event(n))
    before = [await probe.connection.unless_ended(probe.items.get()) for _ in range(3)]
    probe.connection.send(Ack(1, ((before[1].mailbox_sequence, before[1].mailbox_sequence),)))
    await probe.connection.unless_ended(probe.control.get())
    await world.ask("crash home")
    probe.connection.abandon()
    probe = await Probe.welcomed(world, "numbered")
    subscribed = await probe.ask(ask, Subscribed)
    assert subscribed.resumed
    after = [await probe.connection.unless_ended(probe.items.get()) for _ in range(2)]
    assert [d.mailbox_sequence for d in after] == [before[0].mailbox_sequence, before[2].mailbox_sequence]
    assert [d.body_bytes for d in after] == [before[0].body_bytes, before[2].body_bytes]


@check("a home that is stopped ends the connection with 503; the epoch goes on afterwards")
async def _(world: World) -> None:
    client = await Client.connect(world.credentials("drained"))
    publisher = await client.publisher()
    outcomes = [await publisher.send("drained", event(n)) for n in range(200)]
    await asyncio.wait_for(outcomes[0], BOUND_SECONDS)
    await world.ask("restart home")
    ended = await asyncio.wait_for(client.connection.wait_ended(), BOUND_SECONDS)
    assert ended.code == 503, ended
    again = await world.client("drained")
    await publisher.attach(again)
    receipts = await asyncio.wait_for(asyncio.gather(*outcomes), BOUND_SECONDS)
    assert {receipt.code for receipt in receipts} <= {200, 208}
