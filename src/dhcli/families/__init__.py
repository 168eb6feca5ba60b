"""Model families: what listening and speaking mean for one kind of network. All else is shared."""
