"""A small Functions host for a laptop."""
