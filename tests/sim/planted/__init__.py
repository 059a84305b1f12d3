"""Mistakes that are planted one at a time, each as small as a slip of the hand; the simulation has to find every one.

A mistake is data: edits of source text, each of which must fit exactly once, and the laws of which one must break.
Code that has moved on makes its edit fail loudly: then the mistake is written anew. Nothing of ours is imported here:
whoever plants a mistake has to read this before anything is loaded.
"""

from .acts import ACTS
from .adapter import ADAPTER
from .gatherings import GATHERINGS
from .kernel import KERNEL
from .keys import KEYS
from .mistake import Edit, Planted
from .runtime import RUNTIME
from .slips import SLIPS
from .workers import WORKERS

__all__ = ["PLANTED", "Edit", "Planted"]

PLANTED = (*KERNEL, *KEYS, *GATHERINGS, *ACTS, *SLIPS, *RUNTIME, *WORKERS, *ADAPTER)
