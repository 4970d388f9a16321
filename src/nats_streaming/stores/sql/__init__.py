"""The SQL store: the Go server's tables in PostgreSQL or MySQL, and SQLite."""
