"""Adapters: the ports on real drivers. Imported by ``wiring`` only."""
