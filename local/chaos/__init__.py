"""Sends thousands of carts while workers are killed, connections fail and the service fails."""
