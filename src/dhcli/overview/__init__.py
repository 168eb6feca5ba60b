"""The page of `dh report`: what became of many jobs, gathered from their result files, judged, and drawn as HTML."""
