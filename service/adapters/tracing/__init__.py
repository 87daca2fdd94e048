"""What an OpenTelemetry collector is sent."""
