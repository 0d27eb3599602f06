"""Checks a broker against `protocol/PROTOCOL.md` with a client written from that page alone.

    python conformance.py --home DIR --peer DIR --small DIR --ca DIR --fanal BINARY [--only WORD]

DIR are the data directories of three brokers of one CA, two of them linked, and that CA's. Prints a
line for each check, `ok …` or `FAILED …`, then a count; the exit code is 0 when all passed. `want …`
on stdout asks whoever drives it to do something to a broker and to answer `done` on stdin, as
`tests/tests/python.rs` does.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import traceback
from pathlib import Path

# Each registers its checks.
from checks import (
    channels,
    durable,
    federation,
    full,
    handshake,
    limits,
    publishing,
    queries,
    restart,
    subscribing,
    vectors,
    violations,
)
from checks.authority import Authority
from checks.support import AT_ONCE, BOUND_SECONDS, CHECKS, Check, World

MODULES = (
    vectors,
    handshake,
    violations,
    publishing,
    channels,
    subscribing,
    durable,
    queries,
    limits,
    federation,
    full,
    restart,
)
"""In which order their checks run: those that end every connection last."""

VECTORS = Path(__file__).resolve().parents[2] / "protocol" / "vectors"


async def passes(text: str, check: Check, world: World) -> bool:
    """Runs one check and prints how it went."""
    began = time.monotonic()
    try:
        await asyncio.wait_for(check(world), 2 * BOUND_SECONDS)
    except Exception as error:
        traceback.print_exc()
        print(f"FAILED {text}: {type(error).__name__} {error}", flush=True)
        return False
    print(f"ok {text} ({time.monotonic() - began:.1f} s)", flush=True)
    return True


def _in_order() -> list[tuple[str, Check]]:
    names = [module.__name__ for module in MODULES]
    return sorted(CHECKS, key=lambda entry: names.index(entry[1].__module__))


async def run(world: World, only: str) -> int:
    """All checks whose text holds `only`; how many failed."""
    chosen = [(text, check) for text, check in _in_order() if only in text]
    beside = [asyncio.create_task(passes(text, check, world)) for text, check in chosen if text in AT_ONCE]
    passed = []
    for text, check in chosen:
        if check.__module__ == restart.__name__:
            await asyncio.gather(*beside)
        if text not in AT_ONCE:
            passed.append(await passes(text, check, world))
            await world.end_check()
    passed += await asyncio.gather(*beside)
    print(f"{passed.count(True)} passed, {passed.count(False)} failed", flush=True)
    return passed.count(False)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("home", "peer", "small", "ca", "fanal"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--only", default="", help="run the checks whose text holds this")
    arguments = parser.parse_args()
    authority = Authority.of(arguments.ca)
    world = World(arguments.home, arguments.peer, arguments.small, authority, arguments.fanal, VECTORS)
    return 1 if asyncio.run(run(world, arguments.only)) else 0


if __name__ == "__main__":
    sys.exit(main())
