"""One connection to a broker: QUIC by aioquic, the control stream, event streams (PROTOCOL.md 2, 3).

1. The dialled side's certificate is checked before a frame is sent (2.2).
2. Bytes that break the page end the connection with the code of the violation (3.4).
3. A `Ping` is answered here; every other control frame and every event goes to the owner, at once
   and in the order of its stream.

What frames mean for a channel is the owner's business: see `client`.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic import events as quic_events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.tls import load_pem_private_key, load_pem_x509_certificates

from .codec import decode
from .credentials import Credentials, check_dialled
from .errors import BadCertificate, ConnectionEnded, Malformed
from .frames import Gap, Ping, Pong, StreamOpen
from .records import CONTROL, STREAM, Frame
from .streams import Delivery, ReceivedStream, StreamKind, TopicAliases
from .wire import CONTROL_FRAME_BYTES_MAX, STREAM_FRAME_EXTRA_BYTES, FrameSplitter

CLIENT_ALPN: Final = "fanal/1"
IDLE_SECONDS: Final = 30.0
KEEP_ALIVE_SECONDS: Final = 10.0
CLOSE_GRACE_SECONDS: Final = 1.0
BODY_BYTES_MAX_DEFAULT: Final = 1_048_576
RECEIVE_WINDOW_BYTES: Final = 4 * 1_048_576
REASON_BYTES_MAX: Final = 800
_RESET_BYTES_MIN: Final = 21
_TOKEN_BYTES: Final = 16

_T = TypeVar("_T")
OnControl = Callable[[Frame], None]
OnEvent = Callable[[Delivery | Gap], None]
OnEnded = Callable[[ConnectionEnded], None]


class PublishStream:
    """A unidirectional stream for events of this client (5.2)."""

    def __init__(self, connection: Connection, stream_id: int) -> None:
        self.aliases = TopicAliases()
        self.stream_id = stream_id
        self._connection = connection

    def write(self, *frames: Frame) -> None:
        """Sends `frames` in one write."""
        self._connection.write(self.stream_id, b"".join(frame.encode() for frame in frames))

    def write_bytes(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._connection.write(self.stream_id, data)

    def finish(self) -> None:
        """Ends the stream; nothing more may be written."""
        self._connection.write(self.stream_id, b"", end=True)


class Connection:
    """A connection whose handshake is complete."""

    def __init__(self, on_control: OnControl, on_event: OnEvent, on_ended: OnEnded) -> None:
        self.body_bytes_max = BODY_BYTES_MAX_DEFAULT
        self.ended: ConnectionEnded | None = None
        self._on_control, self._on_event, self._on_ended = on_control, on_event, on_ended
        self._control = FrameSplitter(CONTROL_FRAME_BYTES_MAX)
        self._streams: dict[int, tuple[FrameSplitter, ReceivedStream]] = {}
        self._publish_streams: list[PublishStream] = []
        self._over = asyncio.Event()
        self._tokens = itertools.count(1)
        self._pongs: dict[int, asyncio.Future[None]] = {}

    @classmethod
    async def dial(
        cls,
        credentials: Credentials,
        on_control: OnControl,
        on_event: OnEvent,
        on_ended: OnEnded = lambda ended: None,
        *,
        alpn: str = CLIENT_ALPN,
    ) -> Connection:
        """Dials the first address that answers. Raises `ConnectionEnded`, `BadCertificate` or OSError."""
        for position, address in enumerate(credentials.addresses):
            connection = cls(on_control, on_event, on_ended)
            try:
                await connection._dial(address, credentials, alpn)
                return connection
            except (ConnectionEnded, OSError):
                if position + 1 == len(credentials.addresses):
                    raise
        raise ValueError("the credentials hold no address")

    def send(self, *frames: Frame) -> None:
        """Sends control frames in one write."""
        self.write(self._control_stream, b"".join(frame.encode() for frame in frames))

    def send_bytes(self, data: bytes) -> None:
        """Sends bytes on the control stream as they are."""
        self.write(self._control_stream, data)

    def open_stream(self, *, opened: bool = True) -> PublishStream:
        """Opens a publish stream and, unless told otherwise, sends its first frame."""
        stream = PublishStream(self, self._quic.get_next_available_stream_id(is_unidirectional=True))
        self._publish_streams.append(stream)
        if opened:
            stream.write(StreamOpen(kind=StreamKind.PUBLISH))
        return stream

    def write(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Sends `data` on a stream. Raises `ConnectionEnded` when it cannot be."""
        if self.ended is not None:
            raise self.ended
        self._quic.send_stream_data(stream_id, data, end_stream=end)
        self._protocol._transmit_soon()

    async def ping(self) -> None:
        """Waits until the broker answers a `Ping`."""
        token = next(self._tokens)
        pong = self._pongs[token] = asyncio.get_running_loop().create_future()
        self.send(Ping(token=token))
        await self.unless_ended(pong)

    async def unless_ended(self, waited: Awaitable[_T]) -> _T:
        """What `waited` gives; raises `ConnectionEnded` when the connection is over before."""
        wait = asyncio.ensure_future(waited)
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait((wait, over), return_when=asyncio.FIRST_COMPLETED)
            if wait.done():
                return wait.result()
            assert self.ended is not None
            raise self.ended
        finally:
            over.cancel()
            wait.cancel()

    async def wait_ended(self) -> ConnectionEnded:
        """Waits for the end of the connection and says why it came."""
        await self._over.wait()
        assert self.ended is not None
        return self.ended

    async def finish_streams(self) -> None:
        """Ends all publish streams and waits until the broker has acknowledged their bytes (3.4)."""
        senders = [self._quic._streams[stream.stream_id].sender for stream in self._publish_streams]
        for stream in self._publish_streams:
            stream.finish()
        while self.ended is None and not all(sender.is_finished for sender in senders):
            await self.ping()

    def end(self, code: int = 0, reason: str = "") -> None:
        """Ends the connection with an application close (3.4)."""
        self._protocol.close(code, reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore"))
        self._on_terminated(ConnectionEnded(code, reason))

    def abandon(self) -> None:
        """Goes away without a word, as a process that is killed does."""
        self._on_terminated(ConnectionEnded(None, "abandoned"))
        self._protocol.transport.abort()

    async def rebind(self) -> None:
        """Goes on from another local port, as a client behind NAT does; the session stays (2.1)."""
        former = self._protocol.transport
        remote = former.get_extra_info("peername")
        await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: self._protocol, remote_addr=remote[:2]
        )
        former.abort()

    async def _dial(self, address: tuple[str, int], credentials: Credentials, alpn: str) -> None:
        self._quic = QuicConnection(configuration=_configuration(credentials, alpn))
        self._broker = credentials.broker
        loop = asyncio.get_running_loop()
        transport, self._protocol = await loop.create_datagram_endpoint(
            lambda: _Protocol(self._quic, self), remote_addr=address
        )
        self._ready: asyncio.Future[None] = loop.create_future()
        self._protocol.connect(transport.get_extra_info("peername"))
        try:
            await self.unless_ended(self._ready)
        except BaseException:
            transport.close()
            raise
        self._control_stream = self._quic.get_next_available_stream_id()
        self._keep_alive = loop.create_task(self._keep_alive_forever())

    async def _keep_alive_forever(self) -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE_SECONDS)
            self._quic.send_ping(0)
            self._protocol.transmit()

    def _on_handshake(self) -> None:
        try:
            certificate = self._quic.tls._peer_certificate
            assert certificate is not None
            check_dialled(certificate, self._broker)
        except BadCertificate as error:
            self._protocol.close(403, str(error))
            self._ready.set_exception(error)
        else:
            self._ready.set_result(None)

    def _on_data(self, stream_id: int, data: bytes, ends: bool) -> None:
        if self.ended is not None:
            return
        try:
            if stream_id == self._control_stream:
                self._handle_control(data)
                if ends:
                    # The code may be on its way: a broker ends this stream just before it closes.
                    asyncio.get_running_loop().call_later(CLOSE_GRACE_SECONDS, self._end_without_control)
            else:
                self._handle_stream(stream_id, data, ends)
        except Malformed as error:
            self.end(error.code, error.reason)

    def _end_without_control(self) -> None:
        if self.ended is None:
            self.end(0, "the broker ended the control stream")

    def _handle_control(self, data: bytes) -> None:
        for payload in self._control.feed(data):
            match decode(payload, CONTROL):
                case Ping(token=token):
                    self.send(Pong(token=token))
                case Pong(token=token):
                    if (waiting := self._pongs.pop(token, None)) is not None and not waiting.done():
                        waiting.set_result(None)
                case frame:
                    self._on_control(frame)

    def _handle_stream(self, stream_id: int, data: bytes, ends: bool) -> None:
        if stream_id not in self._streams:
            splitter = FrameSplitter(self.body_bytes_max + STREAM_FRAME_EXTRA_BYTES)
            self._streams[stream_id] = (splitter, ReceivedStream())
        splitter, stream = self._streams[stream_id]
        for payload in splitter.feed(data):
            if (item := stream.handle(decode(payload, STREAM))) is not None:
                self._on_event(item)
        if ends and splitter.is_inside_frame:
            raise Malformed("an event stream ends inside a frame")

    def _is_stateless_reset(self, datagram: bytes) -> bool:
        token = self._quic._peer_cid.stateless_reset_token
        return len(datagram) >= _RESET_BYTES_MIN and bool(token) and datagram[-_TOKEN_BYTES:] == token

    def _on_terminated(self, ended: ConnectionEnded) -> None:
        if self.ended is not None:
            return
        self.ended = ended
        if (keep_alive := getattr(self, "_keep_alive", None)) is not None:
            keep_alive.cancel()
        self._over.set()
        self._on_ended(ended)


class _Protocol(QuicConnectionProtocol):
    """Hands what aioquic has received to the connection."""

    def __init__(self, quic: QuicConnection, connection: Connection) -> None:
        super().__init__(quic)
        self._connection = connection

    @property
    def transport(self) -> asyncio.DatagramTransport:
        """The socket."""
        assert self._transport is not None
        return self._transport

    def datagram_received(self, data: Any, addr: Any) -> None:
        """aioquic does not look for stateless resets (RFC 9000, 10.3.1), so this does."""
        if self._connection._is_stateless_reset(data):
            self._connection._on_terminated(ConnectionEnded(None, "stateless reset"))
        else:
            super().datagram_received(data, addr)

    def transmit(self) -> None:
        if not self.transport.is_closing():
            super().transmit()

    def quic_event_received(self, event: quic_events.QuicEvent) -> None:
        match event:
            case quic_events.HandshakeCompleted():
                self._connection._on_handshake()
            case quic_events.StreamDataReceived():
                self._connection._on_data(event.stream_id, event.data, event.end_stream)
            case quic_events.ConnectionTerminated():
                code = event.error_code if event.frame_type is None else None
                reason = (
                    event.reason_phrase
                    if code is not None
                    else f"QUIC 0x{event.error_code:x} {event.reason_phrase}"
                )
                self._connection._on_terminated(ConnectionEnded(code, reason))
                self.transport.close()


def _configuration(credentials: Credentials, alpn: str) -> QuicConfiguration:
    """Chain and dates are checked against the CA; without a server name host names are not."""
    configuration = QuicConfiguration(
        alpn_protocols=[alpn],
        cadata=credentials.ca.encode(),
        idle_timeout=IDLE_SECONDS,
        max_data=RECEIVE_WINDOW_BYTES,
        max_stream_data=RECEIVE_WINDOW_BYTES,
        verify_mode=ssl.CERT_REQUIRED,
    )
    if credentials.certificate is not None and credentials.key is not None:
        own, *chain = load_pem_x509_certificates(credentials.certificate.encode())
        configuration.certificate, configuration.certificate_chain = own, chain
        configuration.private_key = load_pem_private_key(credentials.key.encode())
    return configuration
