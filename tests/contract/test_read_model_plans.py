"""Every documented filter is one range of one index, read in its order: the plans of both databases say so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, Select, text

from sagaline.orchestrator.adapters.read_model import statements
from sagaline.orchestrator.adapters.read_model.addresses import dialect_of
from sagaline.orchestrator.adapters.read_model.schema import INSTANCES, prepare
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.ports.read_model import Span
from tests.postgres import Postgres

from .read_model_queries import LOG, QUERIES

SPANS = [Span(4_000, 5_000), Span(5_000, 6_000)]


def with_tables(url: str) -> Engine:
    dialect = dialect_of(url)
    engine = dialect.engine(60)
    with engine.begin() as connection:
        connection.exec_driver_sql(dialect.begin(60))
        prepare(dialect, connection)
    return engine


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = with_tables(f"sqlite:///{tmp_path_factory.mktemp('plans') / 'read.db'}")
    yield engine
    engine.dispose()


def sqlite_plan(engine: Engine, query: Select[Any]) -> list[str]:
    compiled = str(query.compile(engine, compile_kwargs={"literal_binds": True}))
    with engine.connect() as connection:
        return [str(row.detail) for row in connection.execute(text(f"EXPLAIN QUERY PLAN {compiled}"))]


KEY = re.escape("(log=? AND instance=? AND kind=? AND step=? AND who=?)")


BELOW = "|".join(
    (
        r"^(CORRELATED )?SCALAR SUBQUERY \d$",
        rf"^SEARCH of_all USING INDEX \w+ {KEY}$",
        r"^SEARCH read_entities USING INDEX \w+ \(log=\? AND id=\?\) LEFT-JOIN$",
        r"^SEARCH read_instances USING INDEX sqlite_autoindex_read_instances_1 \(log=\? AND id=\?\)$",
        r"^SEARCH read_terms_\d USING COVERING INDEX sqlite_autoindex_read_terms_1 "
        r"\(log=\? AND instance=\? AND term(=\?|>\? AND term<\?)\)$",
    )
)


def sqlite_range(plan: list[str]) -> list[str]:
    """The columns by which the outer table is searched; nothing but look-ups by primary key may stand below it."""
    first, *rest = plan
    found = re.search(r"^SEARCH (?:read_\w+|driver) USING (?:COVERING )?(?:INDEX \w+|PRIMARY KEY) \((.*)\)$", first)
    assert found is not None, plan
    for line in rest:
        assert re.search(BELOW, line), plan
    return re.findall(r"(\w+)[=<>]", found[1])


@pytest.mark.parametrize("name", QUERIES)
def test_each_documented_filter_is_one_range_on_sqlite(sqlite: Engine, name: str) -> None:
    query, served = QUERIES[name]
    columns = sqlite_range(sqlite_plan(sqlite, query))
    assert columns[: len(served)] == list(served)


@pytest.mark.parametrize("definition", [None, "order-3"])
def test_each_number_of_starts_is_one_range_on_sqlite(sqlite: Engine, definition: str | None) -> None:
    plan = sqlite_plan(sqlite, statements.started(LOG, SPANS, definition))
    served = r"log=\? AND definition=\? AND status=\?" if definition else r"log=\? AND status=\?"
    searched = rf"SEARCH read_instances USING COVERING INDEX \w+ \({served} AND created_ms>\? AND created_ms<\?\)"
    assert [bool(re.fullmatch(searched, line)) for line in plan if "read_" in line] == [True] * len(Status), plan


def test_a_query_that_walks_is_found(sqlite: Engine) -> None:
    """What the test above would say of one."""
    walked = INSTANCES.select().where(INSTANCES.c.version == 1)
    with pytest.raises(AssertionError):
        sqlite_range(sqlite_plan(sqlite, walked))
    sorted_after = INSTANCES.select().where(INSTANCES.c.log == 1).order_by(INSTANCES.c.revision)
    with pytest.raises(AssertionError):
        sqlite_range(sqlite_plan(sqlite, sorted_after))


FILLED = """
INSERT INTO read_instances SELECT 1, 'order-' || n % 9 || '/A-' || n, n, 'order-' || n % 9, n % 50, 'A-' || n,
    CASE WHEN n % 3 = 0 THEN 'running' ELSE 'completed' END, 1, n, n, '{}' FROM generate_series(1, 20000) n;
INSERT INTO read_terms SELECT 1, 'order-' || n % 9 || '/A-' || n, term, n FROM generate_series(1, 20000) n,
    LATERAL (VALUES ('paid:syes-' || n % 50), ('@code:scode-' || n % 50), ('@paused:b1')) AS found(term);
INSERT INTO read_terms SELECT 1, 'order-' || n % 9 || '/A-' || n, '@overdue:b1', n FROM generate_series(1, 20000, 50) n;
INSERT INTO read_waits SELECT 1, 'order-' || n % 9 || '/A-' || n,
    CASE WHEN n % 2 = 0 THEN 'overdue' ELSE 'question' END, 'approve', who, 'order-' || n % 9, n, '[]'
    FROM generate_series(1, 9000) n, (VALUES (''), ('ann')) AS asked(who);
INSERT INTO read_history SELECT 1, 'order-' || n % 9 || '/A-' || n % 2000, n, n % 4, n, '{}',
    CASE WHEN n % 3 = 0 THEN 'who-' || n % 50 END, 'pause'
    FROM generate_series(1, 20000) n;
INSERT INTO read_entities SELECT 1, '@' || CASE WHEN n % 2 = 0 THEN 'lock/' ELSE 'mailbox/paid/' END || n, n,
    CASE WHEN n % 50 = 0 THEN 1 ELSE 0 END, '{}' FROM generate_series(1, 20000) n;
INSERT INTO read_letters SELECT 1, n % 4, n, '@dead/' || n % 4 || '-' || n, n, 't.topic-' || n % 50, 'A-' || n % 900,
    'print-' || n % 50, 'boom', '{}' FROM generate_series(1, 20000) n;
ANALYZE
"""


@pytest.fixture(scope="module")
def filled(postgres: Postgres) -> Iterator[Engine]:
    engine = with_tables(postgres.schema())
    with engine.begin() as connection:
        for statement in FILLED.replace("%", "%%").split(";"):
            connection.exec_driver_sql(statement)
    yield engine
    engine.dispose()


def postgres_nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from postgres_nodes(below)


def postgres_plan(engine: Engine, query: Select[Any]) -> dict[str, Any]:
    compiled = str(query.compile(engine, compile_kwargs={"literal_binds": True}))
    with engine.connect() as connection:
        (found,) = connection.execute(text(f"EXPLAIN (FORMAT JSON) {compiled}")).scalar_one()
    plan: dict[str, Any] = found["Plan"]
    return plan


@pytest.mark.slow
@pytest.mark.parametrize("name", QUERIES)
def test_each_documented_filter_is_one_range_on_postgresql(filled: Engine, name: str) -> None:
    query, served = QUERIES[name]
    found = postgres_plan(filled, query)
    nodes = list(postgres_nodes(found))
    kinds = {node["Node Type"] for node in nodes}
    if "several" in name:  # the server chooses by its statistics which condition comes first, and may sort
        assert not any("Scan" in kind and "Index" not in kind and "Bitmap Heap" not in kind for kind in kinds), found
        return
    assert kinds <= {"Limit", "Index Scan", "Index Only Scan", "Nested Loop"}, found
    outer = next(node for node in nodes if "Index Cond" in node)
    for column in served:
        assert re.search(rf"\b{column}\b", outer["Index Cond"]), (column, outer)
    if "key" not in served:
        assert "Filter" not in outer, outer


@pytest.mark.slow
@pytest.mark.parametrize("definition", [None, "order-3"])
def test_each_number_of_starts_is_one_range_on_postgresql(filled: Engine, definition: str | None) -> None:
    """Of a status that its statistics do not have, the server may take the index without the definition."""
    nodes = list(postgres_nodes(postgres_plan(filled, statements.started(LOG, SPANS, definition))))
    searched = [each for each in nodes if each.get("Relation Name") == "read_instances"]
    assert len(searched) == len(Status)
    for each in searched:
        for column in ("log", "status", "created_ms"):
            assert re.search(rf"\b{column}\b", each["Index Cond"]), (column, each)
        if "'running'" in each["Index Cond"] or "'completed'" in each["Index Cond"]:
            assert each["Node Type"] == "Index Only Scan", each
            assert "Filter" not in each, each
