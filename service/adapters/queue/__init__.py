"""Messages that carry a job id."""
