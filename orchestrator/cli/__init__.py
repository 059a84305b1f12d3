"""The command line: runs processes made of the parts, and calls the REST API for everything else."""

from .start import main

__all__ = ["main"]
