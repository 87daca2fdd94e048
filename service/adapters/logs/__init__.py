"""What the service says about itself while it runs."""
