"""Ports: what the core asks of the outside world, each with its guarantees and errors; adapters implement them."""
