"""The decisions, as pure functions: no I/O, and the clock and the random source are passed in."""
