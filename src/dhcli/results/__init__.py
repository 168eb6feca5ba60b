"""The result file: its fields, and what earlier ones say about the job."""
