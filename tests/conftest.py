"""What every test may rely on: plain asserts in the contract suites explain themselves as those in test files do."""

from __future__ import annotations

import pytest

from .garbage import pytest_collection_finish, pytest_runtest_logfinish
from .kafka_fixture import _own, _shared, breakable_broker, kafka_bootstrap
from .long import pytest_collection_modifyitems, pytest_configure
from .outside import pytest_terminal_summary
from .postgres_fixture import breakable_postgres, postgres

__all__ = [
    "_own",
    "_shared",
    "breakable_broker",
    "breakable_postgres",
    "kafka_bootstrap",
    "postgres",
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_runtest_logfinish",
    "pytest_terminal_summary",
]

pytest.register_assert_rewrite(
    "tests.contract.harness",
    "tests.contract.inbox_contract",
    "tests.contract.group_contract",
    "tests.contract.log_contract",
    "tests.contract.owner_contract",
    "tests.contract.read_model_contract",
    "tests.contract.stored_read_model_contract",
)
