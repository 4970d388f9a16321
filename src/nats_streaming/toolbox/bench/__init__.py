"""Load for a streaming server, made by several processes, and honest figures about it."""
