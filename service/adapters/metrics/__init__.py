"""What a Prometheus server reads."""
