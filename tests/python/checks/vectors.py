"""The test vectors of `protocol/vectors`: this codec against them, and predicates against the broker."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any, ClassVar, Final

from fanal import Body, Client, Gap, Malformed, Timestamp
from fanal.codec import decode
from fanal.connection import BODY_BYTES_MAX_DEFAULT
from fanal.errors import TOO_LARGE
from fanal.events import Clock, Event, Publish
from fanal.frames import Receipts, Skip
from fanal.links import Hole, InterestEntry
from fanal.records import CONTROL, STREAM, Frame, Record
from fanal.streams import Delivery, ReceivedStream, StreamKind
from fanal.topics import is_filter, is_topic, matches
from fanal.wire import CONTROL_FRAME_BYTES_MAX, STREAM_FRAME_EXTRA_BYTES, FrameSplitter, pack

from .support import BOUND_SECONDS, World, check, must_refuse

_STREAM_FRAME_BYTES_MAX: Final = BODY_BYTES_MAX_DEFAULT + STREAM_FRAME_EXTRA_BYTES
_MAY_BE_REFUSED: Final = ("attribute-twice",)
_RENAMED: Final = {"ttl": "ttl_ms", "receipt": "wants_receipt"}


def _load(world: World, file: str, member: str = "vectors") -> list[dict[str, Any]]:
    vectors = json.loads((world.vectors / file).read_text())[member]
    assert vectors, f"{file} holds no {member}"
    return vectors


def _value(plain: Any) -> Any:
    """A value of a vector as this codec has it."""
    match plain:
        case {"hex": digits}:
            return bytes.fromhex(digits)
        case {"float": text}:
            return float(text)
        case {"timestamp": {"seconds": seconds, "nanos": nanos}}:
            return Timestamp(seconds, nanos)
        case list():
            return tuple(_value(item) for item in plain)
        case _:
            return plain


def _by_name(record: Any) -> dict[str, Any]:
    """All fields of a record under their names on the page."""
    if isinstance(record, Record):
        fields = dataclasses.fields(record)
        return {f.metadata["name"] or f.name: _by_name(getattr(record, f.name)) for f in fields}
    if isinstance(record, tuple):
        return tuple(_by_name(item) for item in record)  # type: ignore[return-value]
    return record


def _holds(got: Any, expected: Any, default: Any) -> bool:
    """Whether `got` has what a vector says, and defaults elsewhere."""
    if isinstance(got, dict) and isinstance(expected, dict) and "hex" not in expected:
        assert expected.keys() <= got.keys(), expected.keys() - got.keys()
        base = default if isinstance(default, dict) else {}
        return all(
            _holds(value, expected[name], base.get(name))
            if name in expected
            else _is_default(value, base.get(name))
            for name, value in got.items()
        )
    if isinstance(got, tuple) and isinstance(expected, list):
        return len(got) == len(expected) and all(
            _holds(g, e, None) for g, e in zip(got, expected, strict=True)
        )
    return got == _value(expected)


def _is_default(value: Any, default: Any) -> bool:
    return value == default or (value in (0, "", (), None, bytes(16), bytes(32)) and default is None)


def _single(data: bytes, known: dict[int, type[Frame]]) -> Frame:
    splitter = FrameSplitter(CONTROL_FRAME_BYTES_MAX if known is CONTROL else _STREAM_FRAME_BYTES_MAX)
    (payload,) = splitter.feed(data)
    assert not splitter.is_inside_frame
    return decode(payload, known)


def _expected_frame(vector: dict[str, Any], frame: Frame) -> Frame:
    """The frame of a vector that is no map."""
    fields = {_RENAMED.get(name, name): _value(value) for name, value in vector["value"].items()}
    if isinstance(frame, Publish):
        (fields["topic"],) = fields["topic"].values()
        return Publish(**fields)
    return Event(**fields) if isinstance(frame, Event) else Clock(base_ms=fields["base"])


@check("vectors/frames.json: every frame decodes to its fields, and encodes to its bytes")
async def _(world: World) -> None:
    for vector in _load(world, "frames.json"):
        known = CONTROL if vector["stream"] == "control" else STREAM
        data = bytes.fromhex(vector["hex"])
        frame = _single(data, known)
        assert vector["type"] == frame.TYPE, vector["name"]
        if isinstance(frame, Record):
            default = _by_name(type(frame)())
            assert _holds(_by_name(frame), vector["value"], default), (vector["name"], frame)
        else:
            assert frame == _expected_frame(vector, frame), (vector["name"], frame)
        if vector["encodes"]:
            assert frame.encode() == data, (vector["name"], frame.encode().hex())
        else:
            assert _single(frame.encode(), known) == frame, vector["name"]


class _PublishReader(ReceivedStream):
    """What a home makes of a publish stream: a topic that is none is refused with each event."""

    KINDS: ClassVar[tuple[StreamKind, ...]] = (StreamKind.PUBLISH,)

    def _check_topic(self, topic: str) -> None:
        pass

    def handle(self, frame: Frame) -> Any:
        match frame:
            case Publish(topic=int()) if self.kind is not None:
                if (topic := self._topics.get(frame.topic)) is None:
                    raise Malformed(f"topic alias {frame.topic} is not defined")
                return dataclasses.replace(frame, topic=topic)
            case Publish() | Skip() if self.kind is not None:
                return frame
            case _ if frame.TYPE in (48, 49):
                return super().handle(frame)
        raise Malformed(f"frame type {frame.TYPE} may not stand on a publish stream")


class _LinkReader(ReceivedStream):
    """What a broker makes of an event stream of a peer."""

    def handle(self, frame: Frame) -> Any:
        if isinstance(frame, Hole) and self.kind is StreamKind.DURABLE:
            return frame
        return super().handle(frame)


def _read(reader: ReceivedStream, data: bytes, *, ends: bool = False) -> list[Any]:
    splitter = FrameSplitter(_STREAM_FRAME_BYTES_MAX)
    items = [reader.handle(decode(payload, STREAM)) for payload in splitter.feed(data)]
    if ends and splitter.is_inside_frame:
        raise Malformed("the stream ends inside a frame")
    return [item for item in items if item is not None]


def _item(item: Any) -> dict[str, Any]:
    """An item of a stream as the vectors write it."""
    match item:
        case Publish():
            names = {"receipt": item.wants_receipt, "ttl": item.ttl_ms, "body": {"hex": item.body.hex()}}
            kept = ("channel", "best_effort", "topic", "sequence")
            return {"publish": {**{name: getattr(item, name) for name in kept}, **names}}
        case Delivery():
            kept = ("channel", "best_effort", "topic", "publisher", "sequence", "mailbox_sequence", "attempt")
            epoch = {name: value for name, value in _by_name(item.epoch).items() if value}
            epoch["store"] = {"hex": item.epoch.store.hex()}
            names = {"epoch": epoch, "accepted_at": item.accepted_ms, "ttl": item.ttl_ms}
            return {
                "event": {
                    **{n: getattr(item, n) for n in kept},
                    **names,
                    "body": {"hex": item.body_bytes.hex()},
                }
            }
    return {type(item).__name__.lower(): _by_name(item)}


@check("vectors/streams.json: every stream gives its items")
async def _(world: World) -> None:
    for vector in _load(world, "streams.json"):
        is_publish = vector["stream"] == "publish"
        reader = _PublishReader() if is_publish else _LinkReader() if vector["link"] else ReceivedStream()
        items = [_item(item) for item in _read(reader, bytes.fromhex(vector["hex"]), ends=True)]
        assert items == vector["items"], (vector["name"], items)


@check("vectors/receipts.json: every frame stands for its receipts")
async def _(world: World) -> None:
    for vector in _load(world, "receipts.json"):
        frame = _single(bytes.fromhex(vector["hex"]), CONTROL)
        assert isinstance(frame, Receipts), vector["name"]
        assert (frame.channel, frame.best_effort) == (vector["channel"], vector["best_effort"]), vector[
            "name"
        ]
        why = {e.sequence: {"reason": e.reason, "retry_ms": e.retry_ms} for e in frame.exceptions}
        receipts = [
            {"sequence": n, "code": code, "destinations": destinations, **why.get(n, {})}
            for first, last, code, destinations in frame.spans()
            for n in range(first, last + 1)
        ]
        assert receipts == vector["receipts"], (vector["name"], receipts)


@check("vectors/bodies.json: the good ones are read and written, the others refused, here and by the home")
async def _(world: World) -> None:
    publisher = await (await world.client("vector-bodies")).publisher()
    for vector in _load(world, "bodies.json"):
        data = bytes.fromhex(vector["hex"])
        outcome = await publisher.send("vectors/bodies", data)
        if not vector["valid"]:
            _must_be_malformed(vector["name"], lambda data=data: Body.decode(data))
            error = await asyncio.wait_for(_error_of(outcome), BOUND_SECONDS)
            assert getattr(error, "code", None) == vector["code"], (vector["name"], error)
            continue
        fields = {name: _value(value) for name, value in vector["value"].items()}
        fields["attributes"] = dict(reversed(fields["attributes"]))
        body = Body.decode(data)
        assert _comparable(body) == _comparable(Body(**fields)), (vector["name"], body)
        if vector["encodes"]:
            assert body.encode() == data, (vector["name"], body.encode().hex())
        error = await asyncio.wait_for(_error_of(outcome), BOUND_SECONDS)
        assert error is None or vector["name"] in _MAY_BE_REFUSED, (vector["name"], error)


def _comparable(body: Body) -> str:
    """Every field, attributes sorted by name, floats as text since NaN equals nothing."""
    return repr(dataclasses.replace(body, attributes=dict(sorted(body.attributes.items()))))


async def _error_of(outcome: asyncio.Future) -> BaseException | None:
    await asyncio.wait([outcome])
    return outcome.exception()


def _must_be_malformed(name: str, read: Any, code: int = 400) -> None:
    try:
        read()
    except Malformed as malformed:
        assert malformed.code == code, (name, malformed)
        return
    raise AssertionError(f"{name} is taken")


@check("vectors/violations.json: everything that a client can find, this one finds, with the code")
async def _(world: World) -> None:
    found = 0
    for vector in _load(world, "violations.json"):
        if (vector["found_by"] == "place" and vector["sender"] != "broker") or "needs" in vector:
            continue
        _must_be_malformed(vector["name"], lambda vector=vector: _receive(vector), vector["code"])
        found += 1
    assert found >= 50, found
    assert TOO_LARGE in {vector["code"] for vector in _load(world, "violations.json")}


def _receive(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    if vector["stream"] != "control":
        reader = _PublishReader() if vector["sender"] == "client" else ReceivedStream()
        _read(reader, data, ends=vector["ends"])
        return
    client = Client()
    for payload in FrameSplitter(CONTROL_FRAME_BYTES_MAX).feed(data):
        frame = decode(payload, CONTROL)
        if vector["sender"] == "broker":
            client._handle_frame(frame)


@check("vectors/interest.json: hashed bytes, hashes, digests")
async def _(world: World) -> None:
    hashes: dict[str, int] = {}
    for vector in _load(world, "interest.json", "entries"):
        entry = vector["entry"]
        fields = {"interest_class": entry.get("class", 0), "excluded": tuple(entry.get("except", ()))}
        record = InterestEntry(0, filter=entry.get("filter", ""), predicate=entry.get("predicate"), **fields)
        data = pack(record.plain())
        assert data.hex() == vector["hex"], vector["name"]
        hashes[vector["name"]] = _fnv1a(data)
        assert hashes[vector["name"]] == int(vector["hash"], 16), vector["name"]
    for vector in _load(world, "interest.json", "sets"):
        digest = sum(hashes[name] for name in vector["entries"]) % 2**64
        assert digest == int(vector["digest"], 16), vector["name"]


def _fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


@check("vectors/topics.json: topics, filters, and which match, here")
async def _(world: World) -> None:
    for vector in _load(world, "topics.json", "topics"):
        assert is_topic(vector["text"]) == vector["valid"], vector
    for vector in _load(world, "topics.json", "filters"):
        assert is_filter(vector["text"]) == vector["valid"], vector
    for vector in _load(world, "topics.json", "matches"):
        assert matches(vector["filter"], vector["topic"]) == vector["matches"], vector


# Files of predicates, and the key of `Subscribe` that takes them.
_PREDICATES = {"predicates.json": "predicate", "strict.json": "strict", "dialects.json": "predicate"}


@check("vectors/predicates.json, strict.json, dialects.json: what the home matches, and its canonical texts")
async def _(world: World) -> None:
    for file, key in _PREDICATES.items():
        await _check_predicates(world, file, key)


async def _check_predicates(world: World, file: str, key: str) -> None:
    client = await world.client("vector-predicates")
    vectors = _load(world, file)
    publisher = await client.publisher()
    for start in range(0, len(vectors), 50):
        part = vectors[start : start + 50]
        asked = [await client.subscribe("#", wait="home", **{key: vector["text"]}) for vector in part]
        await _check_canonical(client, {s.channel: v for s, v in zip(asked, part, strict=True)})
        for vector, subscription in zip(part, asked, strict=True):
            events = vector["events"]
            order = sorted(range(len(events)), key=lambda n: events[n]["result"] == "true")
            for n in order:
                await publisher.send(*_event(events[n], f"{vector['name']} {n}"))
            expected = [f"{vector['name']} {n}" for n in order if events[n]["result"] == "true"]
            got = await _matched(subscription, vector["name"], len(expected))
            assert got == expected, (vector["text"], got)
        await client.ping()
        for vector, subscription in zip(part, asked, strict=True):
            assert not await _matched(subscription, vector["name"], 0), vector
            subscription.detach()


async def _check_canonical(client: Client, by_channel: dict[int, dict[str, Any]]) -> None:
    listed = (await client.query("subscriptions"))["subscriptions"]
    own = {
        s["channel"]: s["where"]
        for s in listed
        if s["kind"] == "live" and s["principal"] == client.welcome.publisher
    }
    for channel, vector in by_channel.items():
        assert own[channel] == vector["canonical"], (own[channel], vector)


def _event(event: dict[str, Any], name: str) -> tuple[str, Body]:
    """Topic and body of a vector's event; its name travels as the correlation, which no predicate sees."""
    values = {attribute: _value(value) for attribute, value in event["attributes"].items()}
    topic = values.pop("topic", "vectors/predicates")
    core = {field: values.pop(field, None) for field in ("id", "source", "time")}
    payload = event.get("payload", "").encode()
    content_type = event.get("content_type")
    return topic, Body(
        **core, attributes=values, content_type=content_type, correlation=name, payload=payload
    )


async def _matched(subscription: Any, name: str, count: int) -> list[str]:
    """The events of the vector `name`, at least so many; those of others are passed over."""
    matched: list[str] = []
    while len(matched) < count or not subscription.is_empty():
        try:
            item = await subscription.next(BOUND_SECONDS)
        except TimeoutError:
            raise AssertionError(f"{name}: {count} match, and these alone came: {matched}") from None
        assert not isinstance(item, Gap), item
        if (correlation := item.body.correlation or "").startswith(f"{name} "):
            matched.append(correlation)
    return matched


@check("vectors/predicates.json, strict.json, dialects.json: what is refused, and where")
async def _(world: World) -> None:
    client = await world.client("vector-refused")
    for file, key in _PREDICATES.items():
        for vector in _load(world, file, "refused"):
            place = f"{vector['line']}:{vector['column']}:"
            ask = client.subscribe("vectors", wait="home", **{key: vector["text"]})
            await must_refuse(ask, vector["code"], "filter_refused", place)
