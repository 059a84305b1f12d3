"""``make mutate``: the mutation score of the kernel, module by module, and what survived.

Verdicts are kept in ``.cache/mutation``, so that a run that was stopped goes on where it was. A mutant that was killed
stays killed as long as its function is the same; one that survived is tried again when any source or test is another.

    python -m tests.mutation.score [--jobs N] [--only acts] [--fresh] [--write]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from difflib import unified_diff
from pathlib import Path

from tests.mutation.session import Session, Verdict, run_session
from tests.mutation.tree import CACHE, TREE, Mutant, build, functions
from tests.repo.tree import ROOT

PAGE = ROOT / "docs" / "mutation.md"
MARKS = ("<!-- the score; written by `make mutate ARGS=--write` -->\n", "<!-- end of the score -->\n")
PLAN = CACHE / "plan.json"
VERDICTS = CACHE / "verdicts.jsonl"
SURVIVORS = CACHE / "survivors.diff"
SELECTION = (
    *("tests/unit", "tests/verify/test_scene.py", "tests/examples", "-m", "not slow and not kafka"),
    *(f"--ignore-glob=*/test_{name}*" for name in ("api", "cli", "client", "codec", "inbox", "worker")),
    *(f"--ignore-glob=*/test_{name}*" for name in ("every_error", "runtime_engine", "testing_world")),
    "--deselect=tests/unit/test_kernel_table.py::test_no_message_raises_whatever_code_is_deployed",
)
"""The fast tests that decide something; those of the outer layers call the same functions and only take longer."""
KILLED = frozenset({"killed", "timeout"})


def known(mutants: Sequence[Mutant], digest: str, store: Path = VERDICTS) -> dict[str, Verdict]:
    """The verdicts of former runs that still hold."""
    code = {mutant.name: mutant.code for mutant in mutants}
    found: dict[str, Verdict] = {}
    for line in store.read_text().splitlines() if store.exists() else ():
        old = json.loads(line)
        if code.get(old["name"]) == old["code"] and (old["verdict"] in KILLED or old["digest"] == digest):
            found[old["name"]] = old["verdict"]
    return found


def judge(jobs: int) -> int:
    """In the copy: tries what the plan names, and writes each verdict down as it comes."""
    import sagaline

    assert Path(sagaline.__file__).is_relative_to(ROOT), "another sagaline comes first on the path"
    plan = json.loads((ROOT.parent / PLAN.name).read_text())
    mutants = [Mutant(**each) for each in plan["mutants"]]
    count = Counter[Verdict]()
    with (ROOT.parent / VERDICTS.name).open("a") as out:

        def tell(mutant: Mutant, verdict: Verdict) -> None:
            count[verdict] += 1
            print(json.dumps(asdict(mutant) | {"verdict": verdict, "digest": plan["digest"]}), file=out, flush=True)
            if count.total() % 50 == 0 or count.total() == len(mutants):
                print(f"{count.total()}/{len(mutants)} {dict(count)}", file=sys.stderr, flush=True)

        return run_session(Session(mutants, tell, jobs), SELECTION)


def table(mutants: Iterable[Mutant], verdicts: Mapping[str, Verdict]) -> str:
    """Markdown, the worst module first."""
    modules: dict[str, Counter[Verdict]] = {}
    for mutant in mutants:
        modules.setdefault(mutant.module, Counter())[verdicts[mutant.name]] += 1
    rows = sorted(modules.items(), key=lambda row: (_score(row[1]), row[0]))
    total = sum((count for _, count in rows), Counter[Verdict]())
    lines = ["| module | mutants | killed | of these by a limit | survived | no test reaches it | score |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|")
    for name, count in [*rows, ("**kernel**", total)]:
        killed = count["killed"] + count["timeout"]
        cells = [count.total(), killed, count["timeout"], count["survived"], count["untested"]]
        lines.append(f"| {name} | {' | '.join(map(str, cells))} | {_score(count):.1f} % |")
    return "\n".join(lines) + "\n"


def _score(count: Counter[Verdict]) -> float:
    return 100 * sum(count[verdict] for verdict in KILLED) / count.total()


def diffs(mutants: Iterable[Mutant], verdicts: Mapping[str, Verdict]) -> str:
    """What each survivor changes: the lines that differ."""
    bodies: dict[str, dict[str, list[str]]] = {}
    shown: list[str] = []
    for mutant in mutants:
        if verdicts[mutant.name] in KILLED:
            continue
        body = mutant.name.rpartition(".")[2]
        known = bodies.setdefault(mutant.file, _bodies(TREE / mutant.file))
        true = known[f"{body.partition('__mutmut')[0]}__mutmut_orig"]
        lines = list(unified_diff(true[1:], known[body][1:], n=0, lineterm=""))[3:]
        shown.append("\n".join([f"# {verdicts[mutant.name]}: {mutant.module} {body}", *lines, ""]))
    return "\n".join(shown)


def _bodies(path: Path) -> dict[str, list[str]]:
    lines = (source := path.read_text()).splitlines()
    return {name: lines[each.lineno - 1 : each.end_lineno] for name, each in functions(source).items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutate ARGS=…", description="The mutation score of the kernel.")
    parser.add_argument("--jobs", type=int, default=1, help="how many mutants at a time (1)")
    parser.add_argument("--only", default="", help="only the modules whose name this pattern finds")
    parser.add_argument("--fresh", action="store_true", help="forget what former runs found")
    parser.add_argument("--write", action="store_true", help="write the score into docs/mutation.md")
    parser.add_argument("--in-the-copy", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.in_the_copy:
        return judge(asked.jobs)
    if asked.fresh:
        shutil.rmtree(CACHE, ignore_errors=True)
    begun = time.monotonic()
    mutants, digest = build()
    mutants = [mutant for mutant in mutants if re.search(asked.only, mutant.module)]
    found = known(mutants, digest)
    waiting = [mutant for mutant in mutants if mutant.name not in found]
    PLAN.write_text(json.dumps({"digest": digest, "mutants": [asdict(mutant) for mutant in waiting]}))
    print(f"{len(mutants)} mutants, {len(waiting)} of them to be tried", file=sys.stderr)
    command = [sys.executable, "-m", "tests.mutation.score", "--in-the-copy", f"--jobs={asked.jobs}"]
    if waiting and (code := subprocess.run(command, cwd=TREE, check=False).returncode):
        return code
    verdicts = known(mutants, digest)
    SURVIVORS.write_text(diffs(mutants, verdicts))
    score = table(mutants, verdicts)
    print(f"{score}\nin {time.monotonic() - begun:.0f} s; what survived stands in {SURVIVORS.relative_to(ROOT)}")
    if asked.write:
        before, _, rest = PAGE.read_text().partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        PAGE.write_text(f"{before}{MARKS[0]}\nMeasured on {date.today()}.\n\n{score}\n{MARKS[1]}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
