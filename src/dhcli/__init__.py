"""Lip-sync video renderer for batches."""

__version__ = "0.1.0"
