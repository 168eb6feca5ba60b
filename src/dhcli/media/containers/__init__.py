"""Checks of single containers that ffmpeg does not make."""
