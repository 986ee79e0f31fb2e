"""A shop on a laptop."""
