"""What talks to the outside: Azure Storage, Partner Center, identity services."""
