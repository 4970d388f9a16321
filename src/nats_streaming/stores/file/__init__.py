"""The FILE store: the Go server's files, a journal of batches in front of them, and recovery from anything."""
