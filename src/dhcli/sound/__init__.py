"""Sound as rows of numbers, as other people's networks take it: array code, no files, threads or networks."""
