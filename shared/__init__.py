"""The program: what the function does, from message to outcome."""

NAME = "cart-checkout-function"
VERSION = "0.1.0"
"""As in pyproject.toml, which a deployed app does not have."""
