"""Publishes one event: python example_publish.py TOPIC PAYLOAD [-a NAME=VALUE]… [--data DIR]"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from fanal import Body, Client, FanalError


def attribute(text: str) -> tuple[str, object]:
    """NAME=VALUE; a number, true or false as in JSON, anything else is text."""
    name, _, value = text.partition("=")
    try:
        parsed = json.loads(value)
    except ValueError:
        return name, value
    return name, parsed if isinstance(parsed, (bool, int, float, str)) else value


async def publish(arguments: argparse.Namespace) -> None:
    """Connects, publishes, says what the receipt says."""
    async with await Client.connect(arguments.creds or arguments.data) as client:
        publisher = await client.publisher()
        body = Body(attributes=dict(arguments.attribute), payload=arguments.payload.encode())
        receipt = await publisher.publish(arguments.topic, body)
        print(f"{receipt.code} for {receipt.destinations} durable destinations, sequence {receipt.sequence}")


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("topic")
    parser.add_argument("payload")
    parser.add_argument(
        "-a", "--attribute", type=attribute, action="append", default=[], metavar="NAME=VALUE"
    )
    parser.add_argument("--data", type=Path, default=Path("fanal-data"), help="a broker's data directory")
    parser.add_argument("--creds", type=Path, help="a credentials file")
    try:
        asyncio.run(publish(parser.parse_args()))
    except (FanalError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
