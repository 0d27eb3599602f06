"""Publish channels: their numbers, their epochs, their end (PROTOCOL.md 3.4, 5.1)."""

from __future__ import annotations

from fanal import Client, Epoch, OutcomeUnknown, Publisher
from fanal.frames import Answer, Close, ClosePublish, OpenPublish, PublishOpened, Query, RefusedFrame

from .support import Probe, World, check, event, must_refuse, numbers, publish


@check("410 unknown_epoch: another principal's, another home's, a closed one; outstanding is unknown")
async def _(world: World) -> None:
    client = await world.client("epochs")
    publisher = await client.publisher()
    await publisher.publish("epochs", event(1))
    epoch = publisher.epoch
    assert epoch is not None
    thief = await world.client("thief")
    await must_refuse(thief.publisher(resume=epoch), 410, "unknown_epoch")
    elsewhere = await world.client("epochs", world.peer)
    await must_refuse(elsewhere.publisher(resume=epoch), 410, "unknown_epoch")
    never = Epoch(epoch.store, epoch.recovery_epoch, epoch.counter + 1_000_000)
    await must_refuse(client.publisher(resume=never), 410, "unknown_epoch")
    publisher.close()
    outcome = await publisher.send("epochs", event(2))
    second = await world.client("epochs")
    await must_refuse(publisher.attach(second), 410, "unknown_epoch")
    try:
        await outcome
        raise AssertionError("an unknown outcome was told as known")
    except OutcomeUnknown:
        pass
    await publisher.attach(second)
    assert publisher.epoch != epoch and (await publisher.publish("epochs", event(3))).code == 200


@check("after ClosePublish an event that comes all the same is answered 410")
async def _(world: World) -> None:
    probe = await Probe.welcomed(world, "closed-channel")
    await probe.open_channel()
    probe.connection.send(ClosePublish(channel=1), Query(request=9, page="status"))
    await probe.expect(Answer)
    probe.connection.open_stream().write(publish(1, 1))
    assert await probe.spans(1) == [(1, 410)]


@check("400 channel_in_use: a number in use, 0, and the largest; the next one is free")
async def _(world: World) -> None:
    probe = await Probe.welcomed(world, "channels")
    await probe.open_channel()
    for number in (1, 0, 4_294_967_295):
        refused = await probe.ask(OpenPublish(channel=number), RefusedFrame)
        assert (refused.request, refused.code, refused.name) == (number, 400, "channel_in_use"), refused
    opened = await probe.ask(OpenPublish(channel=4_294_967_294), PublishOpened)
    assert opened.channel == 4_294_967_294


@check("429 too_many_channels; a closed one makes room")
async def _(world: World) -> None:
    probe = await Probe.welcomed(world, "quota")
    for _ in range(64):
        await probe.open_channel()
    refused = await probe.ask(OpenPublish(channel=65), RefusedFrame)
    assert (refused.code, refused.name) == (429, "too_many_channels"), refused
    probe.connection.send(ClosePublish(channel=1))
    await probe.ask(OpenPublish(channel=66), PublishOpened)


@check("goodbye: best effort without receipts arrives, the epochs are gone, the code is 0")
async def _(world: World) -> None:
    subscription = await (await world.client("goodbye-in")).subscribe("goodbye", wait="home")
    client = await Client.connect(world.credentials("goodbye"))
    publisher: Publisher = await client.publisher()
    # All of them fit into the subscription's live buffer at once.
    for n in range(150):
        publisher.send_best_effort("goodbye", event(n))
    await client.close()
    assert client.connection.ended is not None and client.connection.ended.code == 0, client.connection.ended
    assert await numbers(subscription, 150) == list(range(150))
    again = await world.client("goodbye")
    await must_refuse(again.publisher(resume=publisher.epoch), 410, "unknown_epoch")


@check("goodbye without having published")
async def _(world: World) -> None:
    probe = await Probe.welcomed(world, "bye")
    probe.connection.send(Close(code=0, reason="done"))
    await probe.expect_close(0)
