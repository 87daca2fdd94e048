"""The whole service on one machine: gateway, worker and a private broker as managed children."""
