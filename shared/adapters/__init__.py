"""Clients of the external services: Azure Storage, Partner Center, identity services."""
