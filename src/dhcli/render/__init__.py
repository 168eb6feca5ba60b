"""One job: from its plan to a finished file."""
