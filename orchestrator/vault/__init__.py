"""What is kept sealed: the keys, personal values by a key of each person, and the values of records at rest."""

from .keys import KeyRing
from .sealed_log import SealedLog
from .vault import Vault

__all__ = ["KeyRing", "SealedLog", "Vault"]
