"""The only place that knows ffmpeg: probing, decoding, encoding, and reading back what was written."""
