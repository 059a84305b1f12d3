"""What every test may rely on: plain asserts in the contract suites explain themselves as those in test files do."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "tests.contract.harness",
    "tests.contract.group_contract",
    "tests.contract.log_contract",
    "tests.contract.owner_contract",
)
