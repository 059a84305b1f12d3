"""The codec: the only place where bytes become messages and messages bytes. Knows no driver and no time."""
