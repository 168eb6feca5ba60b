"""Runs over many jobs: attempts, retries, results, and the exit code."""
