"""The log: what lines look like, where they go, and the thread that writes them."""
