"""The checks of `cart-checkout doctor`."""
