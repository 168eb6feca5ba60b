"""The face of a video: followed once, kept, and looked up frame by frame."""
