"""The `cart-checkout` command."""
