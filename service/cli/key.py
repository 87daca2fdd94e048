"""`cacscore key`: the public key of this machine."""

from __future__ import annotations

from service.adapters.signing.ed25519 import Ed25519Signer
from service.application.provenance import key_id
from service.cli.console import say, stdout
from service.cli.environment import settings_from_environment


def print_key() -> None:
    """Print the public key as PEM to stdout; its short name and its file to stderr."""
    path = settings_from_environment().signing_key_path
    signer = Ed25519Signer(path)
    stdout.out(signer.public_pem, end="")
    say(f"Key {key_id(signer.public_key)}, private part in {path}")
