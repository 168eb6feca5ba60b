"""One run over many jobs."""
