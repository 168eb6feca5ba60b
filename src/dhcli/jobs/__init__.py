"""From YAML to checked jobs."""
