"""Certificates, roles and the hello (PROTOCOL.md 2, 3.5)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from aioquic.asyncio import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.tls import load_pem_private_key, load_pem_x509_certificates
from cryptography.x509.oid import ExtendedKeyUsageOID

from fanal import BadCertificate, Client, ConnectionEnded, Credentials
from fanal.frames import Hello, Welcome
from fanal.wire import framed, pack

from .authority import Authority
from .support import Probe, World, check, event, numbers


async def _closed_after_dial(credentials: Credentials, code: int, *words: str) -> None:
    probe = await Probe.dial(credentials)
    await probe.expect_close(code, *words)


async def _must_not_dial(dial: Awaitable[object], error: type[Exception], *words: str) -> None:
    try:
        await dial
    except error as raised:
        for word in words:
            assert word in str(raised), f"{word!r} is not in {raised}"
        return
    raise AssertionError("the connection was made")


@check("Welcome says version, broker, principal, authority, life and the largest body")
async def _(world: World) -> None:
    client = await world.client("welcome")
    welcome = client.welcome
    assert (welcome.version, welcome.broker, welcome.principal) == (1, "ewr", "welcome"), welcome
    assert welcome.publisher == f"welcome@{world.authority.fingerprint}"
    assert welcome.body_bytes_max == 65_536, welcome
    assert welcome.incarnation.store != bytes(16) and welcome.incarnation.start >= 1, welcome
    status = await client.query("status")
    assert status["authority"] == welcome.authority.hex()
    assert status["incarnation"]["store"] == welcome.incarnation.store.hex()


@check("the credentials that the broker wrote on its machine are good")
async def _(world: World) -> None:
    async with await Client.connect(world.home) as client:
        assert client.welcome.broker == "ewr"


@check("Hello with unknown keys, other versions besides and long forms is taken")
async def _(world: World) -> None:
    probe = await Probe.dial(world.credentials("hello-long"))
    # {1: [9, 1], 7: {"x": [nil]}, 2: "long"}, the type as uint64, the length in 8 bytes.
    frame = b"\xcf" + bytes(7) + b"\x01" + pack({1: [9, 1], 7: {"x": [None]}, 2: "long"})
    probe.connection.send_bytes(b"\xc0" + len(frame).to_bytes(7, "big") + frame)
    assert (await probe.expect(Welcome)).version == 1


@check("an agent text is kept to 128 characters")
async def _(world: World) -> None:
    probe = await Probe.dial(world.credentials("agent"))
    await probe.ask(Hello(versions=(1,), agent="a" * 200), Welcome)
    sessions = (await (await world.client("agent-reader")).query("sessions"))["sessions"]
    agents = [session["agent"] for session in sessions if session["principal"].startswith("agent@")]
    assert agents == ["a" * 128], agents
    probe.connection.end()


@check("401 without a certificate")
async def _(world: World) -> None:
    await _closed_after_dial(world.local().with_identity(None, None), 401)


@check("403 for a certificate of an unknown CA, with its fingerprint")
async def _(world: World) -> None:
    stranger = Authority.stranger()
    identity = stranger.issue("fanal://client/mallory")
    await _closed_after_dial(world.local().with_identity(*identity), 403, stranger.fingerprint)


@check("403 for the role broker on a client's ALPN")
async def _(world: World) -> None:
    identity = world.authority.issue("fanal://broker/lga")
    await _closed_after_dial(world.local().with_identity(*identity), 403)


@check("403 for the role client on a broker's ALPN")
async def _(world: World) -> None:
    probe = await Probe.dial(world.credentials("no-broker"), alpn="fanal-peer/1")
    await probe.expect_close(403)


@check("403 for no role, two roles, a bad name, a certificate out of date or for servers only")
async def _(world: World) -> None:
    issue = world.authority.issue
    identities = (
        issue(),
        issue("https://example.org/"),
        issue("fanal://client/a", "fanal://client/b"),
        issue("fanal://client/a%20b"),
        issue("fanal://client/late", is_expired=True),
        issue("fanal://client/server", usages=(ExtendedKeyUsageOID.SERVER_AUTH,)),
    )
    for identity in identities:
        await _closed_after_dial(world.local().with_identity(*identity), 403)


@check("other names in a certificate are ignored")
async def _(world: World) -> None:
    identity = world.authority.issue("https://example.org/", "fanal://client/with-others")
    async with await Client.connect(world.local().with_identity(*identity)) as client:
        assert client.welcome.principal == "with-others"


@check("another ALPN fails with no_application_protocol")
async def _(world: World) -> None:
    dial = Probe.dial(world.credentials("alpn"), alpn="fanal/0")
    await _must_not_dial(dial, ConnectionEnded, "0x178")


@check("this client refuses a broker of a CA that it does not know")
async def _(world: World) -> None:
    local = world.local()
    other = Credentials(local.addresses, Authority.stranger().pem, local.certificate, local.key)
    await _must_not_dial(Client.connect(other), ConnectionEnded)


@check("this client refuses a broker of another name than it dials")
async def _(world: World) -> None:
    local = world.local()
    other = Credentials(local.addresses, local.ca, local.certificate, local.key, broker="lga")
    await _must_not_dial(Client.connect(other), BadCertificate, "lga")


@check("this client refuses a dialled side whose role is client, or that may not serve")
async def _(world: World) -> None:
    issue = world.authority.issue
    client_only = (ExtendedKeyUsageOID.CLIENT_AUTH,)
    for identity in (issue("fanal://client/liar"), issue("fanal://broker/ewr", usages=client_only)):
        server, address = await _impostor(*identity)
        local = world.local()
        credentials = Credentials((address,), local.ca, local.certificate, local.key, "ewr")
        await _must_not_dial(Client.connect(credentials), BadCertificate)
        server.close()


async def _impostor(certificate: str, key: str) -> tuple[asyncio.BaseTransport, tuple[str, int]]:
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["fanal/1"])
    own, *chain = load_pem_x509_certificates(certificate.encode())
    configuration.certificate, configuration.certificate_chain = own, chain
    configuration.private_key = load_pem_private_key(key.encode())
    server = await serve("127.0.0.1", 0, configuration=configuration)
    transport = server._transport
    assert transport is not None
    return transport, transport.get_extra_info("sockname")


@check("426 without a common version, both sides' versions in the reason")
async def _(world: World) -> None:
    probe = await Probe.dial(world.credentials("future"))
    probe.connection.send(Hello(versions=(7, 8), agent="future"))
    await probe.expect_close(426, "7", "8", "1")


@check("400 for another frame before Hello, and for a second Hello")
async def _(world: World) -> None:
    probe = await Probe.dial(world.credentials("rude"))
    probe.connection.send_bytes(framed(pack(40) + pack({1: 1})))
    await probe.expect_close(400)
    probe = await Probe.welcomed(world, "twice")
    probe.connection.send(Hello(versions=(1,)))
    await probe.expect_close(400)


@check("a connection that goes on from another address keeps its session")
async def _(world: World) -> None:
    client = await world.client("roaming")
    subscription = await client.subscribe("roaming", wait="home")
    publisher = await client.publisher()
    await publisher.publish("roaming", event(1))
    await client.connection.rebind()
    await publisher.publish("roaming", event(2))
    assert await numbers(subscription, 2) == [1, 2]
    sessions = (await client.query("sessions"))["sessions"]
    assert len([s for s in sessions if s["principal"] == client.welcome.publisher]) == 1


@check("408 for a client that says nothing for 10 s", at_once=True)
async def _(world: World) -> None:
    probe = await Probe.dial(world.credentials("silent"))
    began = asyncio.get_running_loop().time()
    await probe.expect_close(408)
    assert asyncio.get_running_loop().time() - began > 5


@check("Ping is answered with its token, on both sides")
async def _(world: World) -> None:
    client = await world.client("ping")
    for _ in range(3):
        await client.ping()
