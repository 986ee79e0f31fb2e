"""Discrete-event simulations of the function at work, for docs/capacity.md."""
