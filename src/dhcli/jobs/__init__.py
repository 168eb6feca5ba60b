"""From the YAML of a manifest to checked jobs."""
