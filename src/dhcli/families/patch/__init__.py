"""The family `patch`: networks that take a crop of a face and a piece of sound, and give the new crop."""
