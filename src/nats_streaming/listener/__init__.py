"""Listens for clients in place of the embedded nats-server, and takes what is ours out of their streams."""
