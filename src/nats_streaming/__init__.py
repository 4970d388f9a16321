"""NATS Streaming Server in Python: a drop-in successor of the Go nats-streaming-server."""

__version__ = "0.1.0"
