"""Alembic migrations of the tables of this package, to be run with your own.

Add ``LOCATION`` to ``version_locations`` of your ``alembic.ini``, and upgrade to ``heads`` (or ``sagaline@head``): the
revisions here are a branch of their own, ``sagaline``, and never depend on yours.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LOCATION"]

LOCATION: Final = "sagaline.workers.sql.migrations:versions"
"""The folder of the revisions, in Alembic's form ``package:folder``."""
