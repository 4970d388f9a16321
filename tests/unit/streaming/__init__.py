"""One module at a time, without sockets and sleeps."""
