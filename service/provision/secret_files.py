"""Secrets of a first start: one folder for each program, which nobody else can read.

```text
service/     cacscore_database_url, cacscore_broker_url, cacscore_webhook_secret   gateway, worker
database/    password                                                              PostgreSQL
broker/      users.acl                                                             Redis
proxy/       tls.crt, tls.key                                                      reverse proxy
keys/        first-key, metrics-key                                                the record
monitoring/  metrics-key, grafana-password                                         Prometheus
objects/     s3.json                                                               S3 server
bucket/      credentials                                                           gateway, worker
```

Each folder is a volume of its own that only its program gets to see.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from service.application.access import new_key_text
from service.application.errors import ProvisioningRefused
from service.application.webhooks import SECRET_PREFIX
from service.provision.certificate import provide_certificate

SERVICE_USER: Final = "cacscore"
"""Name of the service's user in PostgreSQL and Redis."""

FIRST_KEY: Final = "first-key"
METRICS_KEY: Final = "metrics-key"
"""Files of the two API keys below ``keys``."""

_RANDOM_BYTES: Final = 32
"""256 bits, as API keys have; in 43 letters, digits, ``-`` and ``_``, which a URL takes as is."""

_SECRET_MODE: Final = 0o400
_FOLDER_MODE: Final = 0o500


@dataclass(frozen=True)
class Owners:
    """User ids (and group ids, the same numbers) of the programs; None: leave owners alone.

    Our choice: above those that base images hand out, and one for each program.
    """

    service: int | None = 10001
    database: int | None = 10002
    broker: int | None = 10003
    proxy: int | None = 10004
    keys: int | None = 10001
    monitoring: int | None = 10005
    objects: int | None = 10007
    bucket: int | None = 10001

    @classmethod
    def unchanged(cls) -> Owners:
        """Return owners that leave each file to who makes it."""
        return cls(**{field.name: None for field in fields(cls)})


@dataclass(frozen=True)
class Addresses:
    """Where the service finds its parts, as ``host:port``, and the name of the database."""

    database: str = "database:5432"
    database_name: str = "cacscore"
    broker: str = "broker:6379"


def provide_secrets(
    root: Path,
    *,
    host_names: tuple[str, ...],
    own_certificate: Path | None = None,
    database_folder: Path | None = None,
    owners: Owners | None = None,
    addresses: Addresses | None = None,
) -> list[str]:
    """Make every secret that is not there yet; return the names of those that were made.

    Parameters
    ----------
    root
        Folder of these folders; they are made where they do not exist.
    host_names
        Names and IP addresses that a self-signed certificate is made for.
    own_certificate
        Folder that may hold ``tls.crt`` and ``tls.key``; they are then taken, at each start anew.
    database_folder
        Files of the database. Where it has been set up, its password must be there, too.

    Raises
    ------
    ProvisioningRefused
        The database has a password that is lost, or the certificate that was given cannot be used.
    """
    owners, addresses = owners or Owners(), addresses or Addresses()
    made: list[str] = []
    for name in (field.name for field in fields(Owners)):
        (root / name).mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)

    def keep(file: str, content: str) -> str:
        path = root / file
        if not path.exists():
            write_secret(path, content)
            made.append(file)
        return path.read_text(encoding="utf-8")

    if database_folder is not None and not (root / "database/password").exists():
        _refuse_lost_password(database_folder)
    database_password = keep("database/password", secrets.token_urlsafe(_RANDOM_BYTES))
    keep(
        "service/cacscore_database_url",
        f"postgresql+psycopg://{SERVICE_USER}:{database_password}@{addresses.database}"
        f"/{addresses.database_name}",
    )
    if not (root / "broker/users.acl").exists():
        broker_password = secrets.token_urlsafe(_RANDOM_BYTES)
        url = root / "service/cacscore_broker_url"
        url.unlink(missing_ok=True)
        keep(url.relative_to(root).as_posix(), _broker_url(broker_password, addresses.broker))
        keep("broker/users.acl", broker_users(broker_password))
    webhook_key = base64.b64encode(secrets.token_bytes(_RANDOM_BYTES)).decode("ascii")
    keep("service/cacscore_webhook_secret", f"{SECRET_PREFIX}{webhook_key}")
    keep(f"keys/{FIRST_KEY}", new_key_text())
    metrics_key = keep(f"keys/{METRICS_KEY}", new_key_text())
    keep(f"monitoring/{METRICS_KEY}", metrics_key)
    keep("monitoring/grafana-password", secrets.token_urlsafe(_RANDOM_BYTES))
    if not (root / "objects/s3.json").exists():
        (root / "bucket/credentials").unlink(missing_ok=True)
        key_id, secret = secrets.token_hex(10).upper(), secrets.token_urlsafe(_RANDOM_BYTES)
        keep("bucket/credentials", bucket_credentials(key_id, secret))
        keep("objects/s3.json", object_store_users(key_id, secret))
    made += provide_certificate(
        root / "proxy", host_names=host_names, given=own_certificate, write=write_secret
    )
    for field in fields(Owners):
        _hand_over(root / field.name, getattr(owners, field.name))
    return made


def broker_users(password: str) -> str:
    """Return the ACL file of Redis: one user for the service, one that may only ask if it lives.

    The service's user may do what Celery and the rate limits need, on any key, but neither
    administer the server nor use what can empty or stop it. The file has the SHA-256 of the
    password, which 256 random bits are safe in.
    """
    digest = hashlib.sha256(password.encode()).hexdigest()
    return (
        "user default off\n"
        f"user {SERVICE_USER} on #{digest} ~* &* +@all -@admin -@dangerous +info\n"
        "user health on nopass resetkeys resetchannels -@all +ping\n"
    )


def object_store_users(key_id: str, secret: str) -> str:
    """Return the identities of SeaweedFS' S3 server: the service, and nobody else."""
    credentials = [{"accessKey": key_id, "secretKey": secret}]
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    identity = {"name": SERVICE_USER, "credentials": credentials, "actions": actions}
    return json.dumps({"identities": [identity]}, indent=1) + "\n"


def bucket_credentials(key_id: str, secret: str) -> str:
    """Return the same key as a credentials file of AWS, which the service's S3 client reads."""
    return f"[default]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n"


def write_secret(path: Path, content: str) -> None:
    """Write a file that only its owner can read; it is there whole or not at all."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(_SECRET_MODE)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def take_over(folder: Path, owner: int | None) -> None:
    """Give an empty data folder to the program that will fill it; one with files is left alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if owner is not None and folder.stat().st_uid != owner:
        os.chown(folder, owner, owner)
        folder.chmod(0o700)


def _hand_over(folder: Path, owner: int | None) -> None:
    folder.chmod(_FOLDER_MODE if owner is not None else 0o700)
    if owner is None:
        return
    for path in (folder, *folder.iterdir()):
        os.chown(path, owner, owner)


def _broker_url(password: str, address: str) -> str:
    return f"redis://{SERVICE_USER}:{password}@{address}/0"


def _refuse_lost_password(database_folder: Path) -> None:
    if (database_folder / "PG_VERSION").exists():
        raise ProvisioningRefused(
            "The database has been set up before, but the secret database/password is lost: a new "
            "one would not open it. Bring the volume of secrets back from a backup, or set a new "
            "password with `ALTER ROLE` and put it into that file; see "
            "docs/how-to/deploy-with-compose.md."
        )
