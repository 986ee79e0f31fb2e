"""Thousands of carts while workers are killed and lines break."""
