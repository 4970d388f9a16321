"""What the executable does as a process: signals, files that name it, the service manager, reloading."""
