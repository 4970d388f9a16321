"""What the command-line tool does, without arguments and printing: monitoring read, channels copied, load made."""
