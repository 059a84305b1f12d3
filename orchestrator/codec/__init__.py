"""The codec: the only place that converts between bytes and messages. It uses no driver and no clock."""
