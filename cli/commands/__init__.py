"""The verbs of `cart-checkout`, one module each."""
