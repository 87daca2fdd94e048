"""Secrets of a first start: made once, readable by one program each."""

from __future__ import annotations

import configparser
import hashlib
import json
import stat
from pathlib import Path

import pytest
from sqlalchemy import make_url

from service.application.errors import ProvisioningRefused
from service.application.webhooks import secret_bytes
from service.provision.secret_files import Owners, broker_users, provide_secrets

NAMES = ("localhost", "127.0.0.1")


def provide(root: Path, *, database_folder: Path | None = None) -> list[str]:
    return provide_secrets(
        root, host_names=NAMES, owners=Owners.unchanged(), database_folder=database_folder
    )


def contents(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_second_start_makes_nothing_and_changes_nothing(tmp_path: Path) -> None:
    made = provide(tmp_path)
    before = contents(tmp_path)

    assert sorted(made) == sorted(before)
    assert provide(tmp_path) == []
    assert contents(tmp_path) == before


def test_two_stacks_share_no_secret(tmp_path: Path) -> None:
    provide(tmp_path / "one")
    provide(tmp_path / "other")

    assert not set(contents(tmp_path / "one").values()) & set(contents(tmp_path / "other").values())


def test_each_file_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    provide(tmp_path)

    modes = {stat.S_IMODE((tmp_path / file).stat().st_mode) for file in contents(tmp_path)}
    assert modes == {0o400}


def test_service_knows_the_passwords_that_database_and_broker_were_given(tmp_path: Path) -> None:
    provide(tmp_path)
    files = contents(tmp_path)

    assert make_url(files["service/cacscore_database_url"]).password == files["database/password"]
    broker_password = make_url(files["service/cacscore_broker_url"]).password
    assert broker_password is not None
    assert f"#{hashlib.sha256(broker_password.encode()).hexdigest()}" in files["broker/users.acl"]
    assert broker_password not in files["broker/users.acl"]
    assert len(secret_bytes(files["service/cacscore_webhook_secret"])) == 32
    assert files["keys/metrics-key"] == files["monitoring/metrics-key"]
    assert files["keys/metrics-key"] != files["keys/first-key"]


def test_database_with_a_lost_password_is_refused_instead_of_locked_out(tmp_path: Path) -> None:
    database = tmp_path / "database"
    database.mkdir()
    (database / "PG_VERSION").write_text("17\n")

    with pytest.raises(ProvisioningRefused, match="database/password is lost"):
        provide(tmp_path / "secrets", database_folder=database)

    assert not (tmp_path / "secrets/database/password").exists()


def test_lost_broker_users_get_a_new_password_on_both_sides(tmp_path: Path) -> None:
    provide(tmp_path)
    (tmp_path / "broker/users.acl").unlink()

    assert sorted(provide(tmp_path)) == ["broker/users.acl", "service/cacscore_broker_url"]

    files = contents(tmp_path)
    password = make_url(files["service/cacscore_broker_url"]).password
    assert password is not None
    assert files["broker/users.acl"] == broker_users(password)


def test_s3_server_and_service_have_the_same_key(tmp_path: Path) -> None:
    provide(tmp_path)
    files = contents(tmp_path)

    (identity,) = json.loads(files["objects/s3.json"])["identities"]
    (credentials,) = identity["credentials"]
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(files["bucket/credentials"])
    assert dict(parser["default"]) == {
        "aws_access_key_id": credentials["accessKey"],
        "aws_secret_access_key": credentials["secretKey"],
    }
    assert "Admin" in identity["actions"], "It makes its bucket"


def test_key_of_a_lost_s3_server_is_made_anew_for_both(tmp_path: Path) -> None:
    provide(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "objects/s3.json").unlink()

    assert sorted(provide(tmp_path)) == ["bucket/credentials", "objects/s3.json"]
    after = contents(tmp_path)
    assert after["bucket/credentials"] != before["bucket/credentials"]
