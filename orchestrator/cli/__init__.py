"""The command line: composes the parts into processes, and speaks to the REST API for everything else."""

from .start import main

__all__ = ["main"]
