"""What networks of other people hear of a speech: rows of numbers, by a recipe and maybe an encoder."""
