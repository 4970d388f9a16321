"""What operators can set: flags, configuration files, and the options that both fill in."""
