"""What a first start needs: secrets, a certificate, a schema and the first API keys.

Runs in the gateway's image, which has no command line of its own: `python -m service.provision`.
Whatever is there already is left as it is, so that it may run at every start.
"""
