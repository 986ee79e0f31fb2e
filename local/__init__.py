"""Simulator, storage and host on a machine without Azure, for development, tests and the demo."""
