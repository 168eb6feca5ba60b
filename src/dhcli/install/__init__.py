"""Bringing a model of one's own: recognised, copied, described, tried, and only then put in its place."""
