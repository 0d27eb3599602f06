"""Pages of the broker over the control stream (PROTOCOL.md 8)."""

from __future__ import annotations

from .support import World, check, must_refuse


def _has(members: dict, *names: str) -> None:
    missing = [name for name in names if name not in members]
    assert not missing, f"{missing} missing in {members}"


@check("every page has the members that section 8 names")
async def _(world: World) -> None:
    client = await world.client("pages")
    await client.subscribe("pages/#", predicate="a = 1", excluded=("pages/x",), durable="pages", wait="home")
    live = await client.subscribe("pages/live", wait="home")
    status = await client.query("status")
    _has(status, "name", "version", "state", "authority", "incarnation", "sessions", "subscriptions", "peers")
    _has(status, "queued_events")
    assert (status["name"], status["state"]) == ("ewr", "ready"), status
    _has(status["subscriptions"], "live", "durable")
    _has(status["peers"], "known", "linked")
    (peer,) = (await client.query("peers"))["peers"]
    _has(peer, "name", "authority", "address", "state", "problem", "remote", "agent", "dialled_here")
    _has(peer, "linked_seconds", "rtt_ms", "lag_events", "interest_in", "interest_out", "interest_confirmed")
    assert (peer["name"], peer["state"]) == ("jfk", "linked"), peer
    own = [
        s for s in (await client.query("sessions"))["sessions"] if s["principal"] == client.welcome.publisher
    ]
    assert len(own) == 1
    _has(own[0], "id", "principal", "agent", "remote", "connected_seconds", "subscriptions")
    assert own[0]["subscriptions"] == 2, own
    listed = (await client.query("subscriptions"))["subscriptions"]
    mine = {s["kind"]: s for s in listed if s["principal"] == client.welcome.publisher}
    for subscription in mine.values():
        _has(subscription, "kind", "principal", "filter", "where", "strict", "except", "description")
    _has(mine["durable"], "name", "mailbox", "attached", "queued_events")
    assert mine["durable"]["except"] == ["pages/x"] and mine["durable"]["attached"] is True
    _has(mine["live"], "session", "channel")
    assert mine["live"]["channel"] == live.channel
    mailboxes = (await client.query("mailboxes"))["mailboxes"]
    (box,) = [box for box in mailboxes if box["id"] == mine["durable"]["mailbox"]]
    _has(box, "id", "kind", "name", "principal", "attached", "queued_events", "queued_bytes")
    _has(box, "first_sequence", "next_sequence", "started_below", "max_bytes", "max_events", "max_age_ms")
    _has(box, "when_full", "dead_lettered", "dropped")
    for losses in (box["dead_lettered"], box["dropped"]):
        _has(losses, "full", "age", "store")
    letters = await client.query("dead-letters")
    _has(letters, "dead_letters", "queued_events", "queued_bytes")


@check("404 no_page")
async def _(world: World) -> None:
    client = await world.client("no-page")
    for page in ("nothing", ""):
        await must_refuse(client.query(page), 404, "no_page")


@check("413 page_too_large: a page that does not fit a control frame")
async def _(world: World) -> None:
    client = await world.client("large-page")
    for n in range(20):
        await client.subscribe("page", predicate=f"a = '{n}' OR b = '{'x' * 16_000}'", wait="home")
    await must_refuse(client.query("subscriptions"), 413, "page_too_large")
    await client.ping()
