"""Public helpers for tests of this package and of third-party stores."""
