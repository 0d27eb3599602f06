"""Prints events as they match: python example_subscribe.py FILTER [--where EXPR] [--durable NAME]"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from fanal import Client, Delivery, FanalError


async def subscribe(arguments: argparse.Namespace) -> None:
    """Connects, prints what comes, acks what was printed; ends after --count events, or never."""
    async with await Client.connect(arguments.creds or arguments.data) as client:
        subscription = await client.subscribe(
            arguments.filter, predicate=arguments.where, durable=arguments.durable
        )
        print(f"brokers that match: {', '.join(subscription.receipt.installed)}", file=sys.stderr)
        left = arguments.count
        while left != 0:
            item = await anext(subscription)
            if not isinstance(item, Delivery):
                print(f"events are missing here: {item}", file=sys.stderr)
                continue
            print(f"{item.topic} {dict(item.body.attributes)} {item.body.payload!r}", flush=True)
            left -= 1
            if item.mailbox_sequence is not None:
                acked = subscription.ack(item)
                if left == 0:
                    await acked


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("filter")
    parser.add_argument("--where", help="a predicate")
    parser.add_argument("--durable", help="keep events under this name while nobody is attached")
    parser.add_argument("--count", type=int, default=-1, help="end after so many events")
    parser.add_argument("--data", type=Path, default=Path("fanal-data"), help="a broker's data directory")
    parser.add_argument("--creds", type=Path, help="a credentials file")
    try:
        asyncio.run(subscribe(parser.parse_args()))
    except KeyboardInterrupt:
        return 0
    except (FanalError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
