"""Bytes to values and back, without I/O: core NATS, Protocol Buffers, the STAN messages."""
