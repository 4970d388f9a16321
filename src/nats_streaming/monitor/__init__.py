"""What operators and their programs see of a running server over HTTP. Read-only; snapshots are handed in."""
