"""A small Functions host for development and tests."""
