"""Ports: what the core needs from the outside world, with guarantees and errors; adapters implement them."""
