"""The shell: options, log, event loop and the order of effects."""
