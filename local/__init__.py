"""A laptop without Azure: simulator, storage and host, for development, tests and the demo."""
