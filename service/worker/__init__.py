"""The Celery worker that scores."""
