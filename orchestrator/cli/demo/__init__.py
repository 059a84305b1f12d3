"""``saga demo``: the order checkout in one process, with trouble planned in, and a check of what came of it."""
