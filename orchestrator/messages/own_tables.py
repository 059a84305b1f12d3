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
from .hooks import HOOKS
from .personal import ERASED_TABLE, check_erased
from .pushes import PUSHES
from .quotas import QUOTAS_TABLE, check_quotas
from .webhooks import WEBHOOKS

__all__ = ["OWN_TABLES", "RESERVED"]

RESERVED: Final = MappingProxyType(
    {
        KEYS_TABLE: "/v1/keys, or `saga keys`",
        WEBHOOKS.table: "/v1/webhooks, or `saga webhooks`",
        HOOKS.table: "/v1/hooks, or `saga hooks`",
        PUSHES.table: "/v1/push, or `saga push`",
        ERASED_TABLE: "/v1/personal, or `saga personal`",
    }
)
"""Nobody reads or changes these as tables; instead there is what stands beside each."""

OWN_TABLES: Mapping[str, Callable[[Sequence[Rule]], str | None]] = MappingProxyType(
    {
        LIMITS_TABLE: check_limits,
        QUOTAS_TABLE: check_quotas,
        KEYS_TABLE: check_keys,
        WEBHOOKS.table: WEBHOOKS.check,
        HOOKS.table: HOOKS.check,
        PUSHES.table: PUSHES.check,
        ERASED_TABLE: check_erased,
    }
)
"""By name: what is wrong with the rules and how to fix it; None: they are valid."""
