"""Command lines: arguments and printing only."""
