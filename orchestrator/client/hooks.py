"""``Hooks``: registers, shows and changes who may send what to us, and knows them while deliveries come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..errors import InvalidRequest, UnknownEvent, UnknownHook
from ..messages.entity_messages import Rule
from ..messages.hooks import HOOKS, Hook
from .options import PLAIN, RequestOptions
from .parts import ClientParts
from .recent import Recent
from .registered import Changed, WithSecrets
from .tables import RulesSet, Tables

__all__ = ["Hooks"]


class Hooks(WithSecrets[Hook]):
    """All hooks of the namespace: the rules of the table ``events.hooks``."""

    def __init__(self, tables: Tables, parts: ClientParts) -> None:
        super().__init__(tables, HOOKS, UnknownHook, parts)
        self._recent = Recent[Mapping[str, Hook]](parts, tables, HOOKS.table, _by_name)

    async def current(self, name: str) -> Hook | None:
        """A hook for a delivery, as recent as ``Recent`` says; None: there is none.

        Raises:
            TransientError: it is not known.
        """
        return (await self._recent.current()).get(name)

    async def _write(self, change: Callable[[Sequence[Rule]], Sequence[Rule]], options: RequestOptions) -> RulesSet:
        return await self._recent.change(change, options)

    async def put(self, hook: Hook, options: RequestOptions = PLAIN) -> Changed[Hook]:
        """Registers a hook, or replaces all but its secret.

        Raises:
            UnknownEvent: it publishes an event that no deployed definition waits for, listens to or emits.
            InvalidRequest: a field of it is wrong.
        """
        known = {each.name for definition in self._parts.registry for each in definition.events}
        if (wrong := HOOKS.check_one(hook)) is not None:
            raise InvalidRequest(wrong)
        if unknown := next((each for each in hook.names if each not in known), None):
            raise UnknownEvent(unknown, tuple(sorted(known)))

        def change(before: Hook | None) -> Hook:
            # Never one that a deleted hook of this name had: its sender knows those secrets.
            base = before or replace(hook, generation=self._parts.clock.now_ms())
            return replace(
                hook,
                generation=base.generation,
                rotated_by=base.rotated_by,
                overlap_from=base.overlap_from,
                overlap_until_ms=base.overlap_until_ms,
            )

        return await self.change(hook.name, change, options)


def _by_name(rules: Sequence[Rule]) -> Mapping[str, Hook]:
    return {each.name: each for each in HOOKS.of(rules)}
