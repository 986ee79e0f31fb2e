"""Sends requests through the local stack and checks what becomes of them."""
