"""Findings for people, for scripts, and as tests that fail until the mistake is fixed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..messages.values import JsonObject
from ..scenes.scene import Scene
from .explore import Found
from .laws import Law, breaches, ended
from .successors import Move, as_value, literal
from .verify import Verified

__all__ = ["as_json", "lines", "pytest_file"]

_WHOLE = frozenset({Law.UNREACHABLE, Law.LOOP, Law.WAIT})
"""Laws that no single run can show."""
_HEADER = '"""Written by `saga verify`. Each test fails until its mistake is fixed."""'


def lines(verified: Verified) -> list[str]:
    """The findings, each with the shortest run to it, and the size of the search."""
    count = len(verified.found)
    head = "holds" if not count else f"{count} finding{'s' if count > 1 else ''}"
    out = [f"{verified.definition.name} version {verified.definition.version}: {head}"]
    for found in verified.found:
        out += ["", f"  {found.breach.law}: {found.breach.message}"]
        out += [f"    {number}. {told}" for number, told in enumerate(way(verified, found), start=1)]
    bounds = verified.bounds
    out += [
        "" if count else f"  {_laws()}",
        f"  {verified.states:,} states, {verified.transitions:,} transitions, depth at most {verified.depth}, "
        f"from {verified.begins} input{'s' if verified.begins > 1 else ''}",
        f"  bounds: {bounds.faults} faults per run, depth {bounds.depth}, {bounds.states:,} states; "
        + (
            "every run with that many faults was explored"
            if verified.complete
            else "NOT every run was explored: raise --depth or --states"
        ),
    ]
    return out


def _laws() -> str:
    return f"laws: {', '.join(law.value for law in Law)}"


def way(verified: Verified, found: Found) -> list[str]:
    """The run to a finding, one line per move; empty when no single run shows it."""
    if found.breach.law in _WHOLE and not found.moves:
        return []
    start = [Move(kind="start", step=None, value=found.input).told] if found.input is not None else []
    tables = [f"table {table!r} returns {branch!r}" for table, branch in found.rules.items()]
    return tables + start + [move.told for move in found.moves]


def as_json(verified: Verified) -> JsonObject:
    """The findings as JSON."""
    return {
        "definition": verified.definition.name,
        "version": verified.definition.version,
        "findings": [
            {
                "law": found.breach.law.value,
                "place": found.breach.place,
                "message": found.breach.message,
                "way": list(way(verified, found)),
            }
            for found in verified.found
        ],
        "laws": [law.value for law in Law],
        "states": verified.states,
        "transitions": verified.transitions,
        "inputs": verified.begins,
        "complete": verified.complete,
        "bounds": {
            "faults": verified.bounds.faults,
            "depth": verified.bounds.depth,
            "states": verified.bounds.states,
        },
    }


def pytest_file(verified: Sequence[tuple[Verified, str]]) -> str:
    """A test file with one test per finding; "" without findings.

    Args:
        verified: each with the reference of its definition: ``package.module:attribute``.
    """
    tests, imports = [], set[str]()
    for one, source in verified:
        module, _, path = source.partition(":")
        name = path.partition(".")[0].partition("[")[0]
        if one.found:
            imports.add(f"from {module} import {name}")
        for number, found in enumerate(one.found, start=1):
            tests.append(_test(one, found, path, number))
    if not tests:
        return ""
    body = "\n\n\n".join(tests)
    ours = [
        "from sagaline.orchestrator.scenes.scene import Scene" if "Scene." in body else "",
        f"from sagaline.orchestrator.verify import {', '.join(n for n in ('must', 'verify') if f'{n}(' in body)}",
    ]
    return "\n".join([_HEADER, "", *sorted(imports), *filter(None, ours), "", "", body, ""])


def _test(verified: Verified, found: Found, name: str, number: int) -> str:
    law = found.breach.law
    called = re.sub(r"\W+", "_", f"test_{verified.definition.name}_{number}_{law}").lower()
    head = f'def {called}() -> None:\n    """{found.breach.message.replace(chr(34), chr(39))}"""\n'
    if law in _WHOLE or (law is Law.RETRY and not found.moves):
        given = f", inputs={literal([as_value(each) for each in verified.inputs])}" if verified.inputs else ""
        given += f", external={literal(list(verified.external))}" if verified.external is not None else ""
        return f"{head}    assert {literal(law.value)} not in verify({name}{given}).laws"
    if found.input is None:
        scene = Scene.of(verified.definition, key=verified.key)
        start = f"Scene.of({name}, key={literal(verified.key)})"
    else:
        scene = Scene.start(verified.definition, found.input, rules=found.rules)
        rules = f", rules={literal(found.rules)}" if found.rules else ""
        start = f"Scene.start({name}, {literal(found.input)}{rules})"
    calls = "".join(f"    scene = scene{move.call}\n" for move in _script(scene, found))
    if law is Law.RETRY:
        return f"{head}    scene = {start}\n{calls}    must({literal(law.value)}, scene)"
    if law is Law.NEVER_ENDS:
        return f"{head}    scene = {start}\n{calls}    must({literal(law.value)}, scene.settle())"
    return f"{head}    scene = {start}\n{calls}    for each in scene.walk():\n        must({literal(law.value)}, each)"


def _script(scene: Scene, found: Found) -> tuple[Move, ...]:
    """The shortest prefix of the run after which the law breaks even without further faults."""
    if found.breach.law is Law.RETRY:
        return found.moves
    for count in range(len(found.moves)):
        try:
            if _broken(scene, found):
                return found.moves[:count]
            scene = found.moves[count].apply(scene)
        except Exception:  # raising may be the finding itself
            break
    return found.moves


def _broken(scene: Scene, found: Found) -> bool:
    """True when the law breaks in the run without further faults."""
    law, place = found.breach.law, found.breach.place
    if law is Law.NEVER_ENDS:
        return scene.status is not None and not ended(scene.settle())
    return any(breach.law is law and breach.place == place for each in scene.walk() for breach in breaches(each))
