"""The tables that Sagaline itself reads: no router has one of their names, because a router's name has no dot.

The engine checks what their rules mean, and writes each change to a topic that processes follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from .access import KEYS_TABLE, check_keys
from .entity_messages import Rule
from .flow_limits import LIMITS_TABLE, check_limits

__all__ = ["OWN_TABLES", "SECRET"]

SECRET: Final = "access."
"""What a table's name begins with that says who may do what: nobody reads or changes it as a table."""

OWN_TABLES: Mapping[str, Callable[[Sequence[Rule]], str | None]] = MappingProxyType(
    {LIMITS_TABLE: check_limits, KEYS_TABLE: check_keys}
)
"""By name: what is wrong with the rules and how to fix it; None: they are valid."""
