"""Small programs that the Makefile runs; nothing here is installed."""
