"""``saga demo``: the order checkout in one process, with planned failures, and a check of the result."""
