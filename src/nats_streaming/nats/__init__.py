"""Our relation to NATS: the link to a nats-server, and the embedded nats-server itself."""
