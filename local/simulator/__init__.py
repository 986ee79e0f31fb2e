"""Partner Center on a laptop."""
