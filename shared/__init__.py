"""The program: what the function does, from message to outcome."""
