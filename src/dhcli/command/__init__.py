"""The command line: verbs, flags, what people and programs read on the standard streams."""
