"""Contact sheets: mouths of a finished video beside those it was made from, and how they open over its sound."""
