"""The decisions: pure, so that each can be tested by the thousand."""
