"""A job while it runs: threads, children, channels, signals, the watchdog and what it uses of the machine."""
