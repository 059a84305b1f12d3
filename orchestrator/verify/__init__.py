"""The bounded model checker of an author's definition: whatever can happen, every law, the shortest way to break it.

Above the kernel, which it asks and never imitates; beside it only ``testing.Scene``. Pure: it does no IO.
"""

from .explore import Bounds, Found
from .laws import Breach, Law, must
from .report import as_json, lines, pytest_file
from .verify import Verified, verify

__all__ = ["Bounds", "Breach", "Found", "Law", "Verified", "as_json", "lines", "must", "pytest_file", "verify"]
