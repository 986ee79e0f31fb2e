"""The checkout as a Celery task."""
