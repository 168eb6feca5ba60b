"""What families share that paint a new face: the crop that a network sees, and the way back into the frame."""
