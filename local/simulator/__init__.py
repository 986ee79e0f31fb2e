"""A simulated Partner Center for development and tests."""
