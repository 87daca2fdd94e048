"""The command line, and the service on one machine."""
