"""Prepare a first start: `python -m service.provision secrets | record | bucket | first-key`."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path

from calcium_scoring.errors import CacscoreError
from service.adapters.signing.ed25519 import Ed25519Signer
from service.adapters.signing.key_file import KEY_FILE
from service.provision.bucket import provide_bucket
from service.provision.record import provide_record
from service.provision.secret_files import FIRST_KEY, Owners, provide_secrets, take_over
from service.settings import Settings


def main() -> int:
    """Do one step; 0 when it is done, 1 with the reason on stderr when it cannot be."""
    arguments = _parser().parse_args()
    try:
        if arguments.step == "secrets":
            _secrets(arguments)
        elif arguments.step == "bucket":
            is_new = provide_bucket(Settings())
            sys.stdout.write(f"The bucket is {'made' if is_new else 'there'}.\n")
        elif arguments.step == "record":
            adopted = provide_record(Settings(), arguments.keys)
            sys.stdout.write(f"The record is ready; new keys: {', '.join(adopted) or 'none'}.\n")
        else:
            sys.stdout.write((arguments.keys / FIRST_KEY).read_text(encoding="utf-8") + "\n")
    except CacscoreError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _secrets(arguments: argparse.Namespace) -> None:
    owners = Owners() if arguments.give_away else Owners.unchanged()
    folders = dict(arguments.data)
    for name, folder in arguments.data:
        take_over(folder, getattr(owners, name))
    made = provide_secrets(
        arguments.root,
        host_names=tuple(one.strip() for one in arguments.host_names.split(",") if one.strip()),
        own_certificate=arguments.certificate,
        database_folder=folders.get("database"),
        owners=owners,
    )
    if "service" in folders:
        key = folders["service"] / KEY_FILE
        if not key.exists():
            made.append(KEY_FILE)
        # Made when it is first asked for.
        _ = Ed25519Signer(key).public_key
        if owners.service is not None:
            os.chown(key, owners.service, owners.service)
    sys.stdout.write(f"Secrets are ready; made now: {', '.join(made) or 'none'}.\n")


def _data_folder(text: str) -> tuple[str, Path]:
    owner, _, folder = text.partition("=")
    if owner not in {field.name for field in fields(Owners)} or not folder:
        raise argparse.ArgumentTypeError(f"{text!r} is not OWNER=FOLDER")
    return owner, Path(folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service.provision", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    secrets = steps.add_parser("secrets", help="make every secret that is not there yet")
    secrets.add_argument("--root", type=Path, required=True, help="folder of the secrets")
    secrets.add_argument("--host-names", default="localhost,127.0.0.1,::1")
    secrets.add_argument("--certificate", type=Path, help="folder of tls.crt and tls.key, if any")
    secrets.add_argument(
        "--data",
        type=_data_folder,
        action="append",
        default=[],
        metavar="OWNER=FOLDER",
        help="data folder of service, database, broker, monitoring or objects; may be repeated",
    )
    secrets.add_argument(
        "--give-away", action="store_true", help="as root: give each folder to its program's user"
    )
    steps.add_parser("bucket", help="make the bucket of the settings where it is not there yet")
    for name, words in (
        ("record", "bring the schema up to date and adopt the first keys"),
        ("first-key", "print the first API key"),
    ):
        step = steps.add_parser(name, help=words)
        step.add_argument("--keys", type=Path, required=True, help="folder of the keys' texts")
    return parser


if __name__ == "__main__":
    sys.exit(main())
