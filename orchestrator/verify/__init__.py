"""A bounded model checker for definitions: it explores every possible run and finds the shortest one that breaks a law.

It calls the real kernel through ``Scene`` and does not model it again. Pure: it does no IO.
"""

from .explore import Bounds, Found
from .laws import Breach, Law, must
from .report import as_json, lines, pytest_file
from .verify import Verified, verify

__all__ = ["Bounds", "Breach", "Found", "Law", "Verified", "as_json", "lines", "must", "pytest_file", "verify"]
