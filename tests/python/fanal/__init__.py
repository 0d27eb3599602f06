"""A client of the Fanal protocol, version 1, written from `protocol/PROTOCOL.md` alone.

    client = await Client.connect("fanal-data")
    publisher = await client.publisher()
    receipt = await publisher.publish("orders/eu", Body(payload=b"lamp"))

The modules from `wire` to `streams` in the README's table do no IO. `connection` is the
transport, `client`, `publisher` and `subscription` are what a program uses.
"""

from .body import Body, Timestamp
from .client import Client
from .credentials import Credentials
from .errors import (
    BadCertificate,
    ChannelClosed,
    ConnectionEnded,
    FanalError,
    Malformed,
    OutcomeUnknown,
    PublishRefused,
    Refused,
)
from .frames import Epoch, Gap
from .publisher import Publisher, Receipt
from .streams import Delivery
from .subscription import Subscription

__all__ = [
    "BadCertificate",
    "Body",
    "ChannelClosed",
    "Client",
    "ConnectionEnded",
    "Credentials",
    "Delivery",
    "Epoch",
    "FanalError",
    "Gap",
    "Malformed",
    "OutcomeUnknown",
    "PublishRefused",
    "Publisher",
    "Receipt",
    "Refused",
    "Subscription",
    "Timestamp",
]
