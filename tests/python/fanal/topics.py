"""Topics and topic filters (PROTOCOL.md 3.3, 4.1).

Brokers match; a client needs this to refuse a bad topic before it is sent, and to understand a filter.
"""

from __future__ import annotations

from typing import Final

from .body import has_control_character

TOPIC_BYTES_MAX: Final = 1_024
LEVELS_MAX: Final = 64


def is_topic(text: str) -> bool:
    """Whether `text` may be published to, but for the `$` of brokers."""
    return _is_well_formed(text) and "+" not in text and "#" not in text


def is_reserved(topic: str) -> bool:
    """Whether only brokers publish there."""
    return topic.startswith("$")


def is_filter(text: str) -> bool:
    """Whether `text` is a topic filter: wildcards alone in their level, `#` in the last."""
    levels = text.split("/")
    alone = all(level in ("+", "#") or not set("+#") & set(level) for level in levels)
    return _is_well_formed(text) and alone and "#" not in levels[:-1]


def matches(topic_filter: str, topic: str) -> bool:
    """Whether `topic` is one of those that `topic_filter` stands for. O(levels)."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if is_reserved(topic) and wanted[0] in ("+", "#"):
        return False
    if wanted[-1] == "#":
        wanted.pop()
        if len(levels) < len(wanted):
            return False
        levels = levels[: len(wanted)]
    if len(wanted) != len(levels):
        return False
    return all(want in ("+", level) for want, level in zip(wanted, levels, strict=True))


def _is_well_formed(text: str) -> bool:
    sizes = 1 <= len(text.encode()) <= TOPIC_BYTES_MAX and len(text.split("/")) <= LEVELS_MAX
    return sizes and not has_control_character(text)
