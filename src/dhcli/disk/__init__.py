"""Files that survive kills and other processes undamaged: locks, unfinished outputs, caches."""
