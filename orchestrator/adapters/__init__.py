"""Adapters: implementations of the ports on real drivers. Only ``wiring`` imports them."""
