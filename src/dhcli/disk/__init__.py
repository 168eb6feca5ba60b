"""Files that are safe against kills and other processes: locks, outputs in the making, caches."""
