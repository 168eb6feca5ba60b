"""Measuring what a picture shows of a mouth: pure arithmetic on frames and landmarks."""
