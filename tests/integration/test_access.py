"""Who may come in: keys, tokens, tenants, rates; on a running gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from service.adapters.database.audit_log import SqlAuditLog
from service.adapters.database.engine import open_engine
from service.adapters.database.key_store import SqlKeyStore
from service.adapters.database.schema import upgrade_schema
from service.api.access import OPEN_PATHS, needed_scope
from service.application.access import Scope, create_key, revoke_key, rotate_key
from service.application.audit import verify_chain
from service.settings import Settings
from service.worker.wiring import worker_parts
from tests.integration.conftest import Service, running_gateway

ZIP = {"Content-Type": "application/zip"}


class Guarded:
    """A service with authentication, and its keys."""

    def __init__(self, service: Service, keys: SqlKeyStore) -> None:
        self.service = service
        self.keys = keys

    def key(self, tenant: str = "default", *scopes: Scope, days: float | None = None) -> str:
        lifetime = None if days is None else timedelta(days=days)
        return create_key(
            self.keys,
            name="test",
            tenant=tenant,
            scopes=scopes or (Scope.WRITE,),
            lifetime=lifetime,
        )[1]

    def ask(
        self,
        key: str | None,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
        json: object = None,
    ) -> httpx.Response:
        own = {} if key is None else {"Authorization": f"Bearer {key}"}
        return self.service.client.request(
            method, path, headers={**own, **(headers or {})}, content=content, json=json
        )

    def upload(self, key: str, content: bytes) -> str:
        response = self.ask(key, "POST", "/studies", content=content, headers=ZIP)
        assert response.status_code == 202, response.text
        return str(response.json()["id"])


@pytest.fixture
def guarded_settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": "required"})


@pytest.fixture
def guarded(guarded_settings: Settings) -> Iterator[Guarded]:
    guarded_settings.data_dir.mkdir(parents=True)
    engine = open_engine(guarded_settings.record_url)
    upgrade_schema(engine)
    with running_gateway(guarded_settings) as client:
        service = Service(client, guarded_settings, worker_parts(guarded_settings))
        yield Guarded(service, SqlKeyStore(engine))


def operations(repository: Path) -> Iterator[tuple[str, str]]:
    document = json.loads((repository / "openapi" / "openapi.json").read_text())
    for path, methods in document["paths"].items():
        if path not in OPEN_PATHS:
            for method in methods:
                yield method.upper(), path


def test_every_route_refuses_whoever_has_no_key_or_a_wrong_one(
    guarded: Guarded, repository: Path
) -> None:
    right = guarded.key()
    wrong = right[:-4] + ("AAAA" if not right.endswith("AAAA") else "BBBB")
    for method, path in operations(repository):
        filled = path.replace("{study_id}", "a" * 26).replace("{slice_index}", "0")
        for key in (None, "x", "nonsense", wrong, "cacs_000000000000_" + "A" * 43):
            answer = guarded.ask(key, method, filled)
            assert answer.status_code == 401, (method, path, key, answer.text)
            # An answer to HEAD has no body.
            assert method == "HEAD" or answer.json()["code"] == "not_authenticated"
            assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_no_route_shows_a_study_to_another_tenant(
    guarded: Guarded, repository: Path, study_zip: Path
) -> None:
    mine, theirs = guarded.key("radiology"), guarded.key("cardiology", Scope.ADMIN)
    study_id = guarded.upload(mine, study_zip.read_bytes())
    guarded.service.work()
    asked = 0
    for method, path in operations(repository):
        if "{study_id}" not in path:
            continue
        filled = path.replace("{study_id}", study_id).replace("{slice_index}", "0")
        body: dict[str, object] | None = {} if method == "POST" else None
        answer = guarded.ask(theirs, method, filled, json=body)
        assert answer.status_code == 404, (method, path, answer.status_code)
        assert answer.json()["code"] == "study_not_found", (method, path)
        missing = guarded.ask(theirs, method, filled.replace(study_id, "b" * 26), json=body)
        assert missing.json() == answer.json(), "a study of others looks like none"
        asked += 1
    assert asked >= 6
    assert guarded.ask(theirs, "GET", "/studies").json()["studies"] == []
    assert [one["id"] for one in guarded.ask(mine, "GET", "/studies").json()["studies"]] == [
        study_id
    ]
    assert guarded.ask(mine, "GET", f"/studies/{study_id}/score").status_code == 200


def test_the_same_bytes_of_two_tenants_are_two_studies(guarded: Guarded, study_zip: Path) -> None:
    content = study_zip.read_bytes()
    one, other = guarded.key("radiology"), guarded.key("cardiology")

    first, second = guarded.upload(one, content), guarded.upload(other, content)

    assert first != second
    assert guarded.ask(one, "DELETE", f"/studies/{first}").status_code == 204
    assert guarded.ask(other, "GET", f"/studies/{second}").status_code == 200


def test_reading_needs_less_than_writing(guarded: Guarded, study_zip: Path) -> None:
    reader, writer = guarded.key("default", Scope.READ), guarded.key("default", Scope.WRITE)
    content = study_zip.read_bytes()

    refused = guarded.ask(reader, "POST", "/studies", content=content, headers=ZIP)
    assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
    study_id = guarded.upload(writer, content)
    assert guarded.ask(reader, "GET", f"/studies/{study_id}").status_code == 200
    assert guarded.ask(reader, "DELETE", f"/studies/{study_id}").status_code == 403
    assert guarded.ask(writer, "DELETE", f"/studies/{study_id}").status_code == 204


def test_scopes_of_routes_that_nobody_has_thought_of_are_the_strict_ones() -> None:
    assert needed_scope("GET", "/anything") is Scope.READ
    assert {needed_scope(one, "/anything") for one in ("POST", "PUT", "PATCH", "DELETE")} == {
        Scope.WRITE
    }


def test_a_key_is_taken_in_either_header(guarded: Guarded) -> None:
    key = guarded.key()
    assert guarded.ask(None, "GET", "/studies", headers={"X-API-Key": key}).status_code == 200
    assert guarded.ask(key, "GET", "/studies").status_code == 200


def test_a_key_ends_when_it_expires_is_revoked_or_was_rotated(guarded: Guarded) -> None:
    old = guarded.key()
    key_id = old.split("_")[1]
    expired = create_key(
        guarded.keys,
        name="old",
        lifetime=timedelta(days=1),
        now=lambda: datetime.now(UTC) - timedelta(days=2),
    )[1]
    assert guarded.ask(expired, "GET", "/studies").status_code == 401

    _, successor = rotate_key(guarded.keys, key_id, overlap=timedelta(hours=1))
    assert guarded.ask(old, "GET", "/studies").status_code == 200, "the overlap"
    assert guarded.ask(successor, "GET", "/studies").status_code == 200
    revoke_key(guarded.keys, key_id)
    assert guarded.ask(old, "GET", "/studies").status_code == 401
    assert guarded.ask(successor, "GET", "/studies").status_code == 200


def test_no_secret_is_in_the_database(guarded: Guarded) -> None:
    secret = guarded.key().split("_", 2)[2]
    for path in guarded.service.settings.data_dir.glob("*sqlite3*"):
        assert secret.encode() not in path.read_bytes()


def test_whoever_asks_too_often_is_told_when_to_come_back(guarded_settings: Settings) -> None:
    limited = guarded_settings.model_copy(update={"rate_limit_per_s": 0.5, "rate_limit_burst": 3})
    limited.data_dir.mkdir(parents=True)
    upgrade_schema(open_engine(limited.record_url))
    keys = SqlKeyStore(open_engine(limited.record_url))
    one, other = (create_key(keys, name=name)[1] for name in "ab")
    with running_gateway(limited) as client:

        def ask(key: str) -> httpx.Response:
            return client.get("/studies", headers={"X-API-Key": key})

        assert [ask(one).status_code for _ in range(3)] == [200, 200, 200]
        refused = ask(one)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert refused.headers["Retry-After"] in {"1", "2"}, "a token every two seconds"
        assert ask(other).status_code == 200, "another caller has a bucket of their own"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example"},
        {"X-Forwarded-For": "203.0.113.7"},
        {"Forwarded": "for=203.0.113.7"},
    ],
)
def test_without_authentication_only_this_machine_itself_is_served(
    service: Service, headers: dict[str, str]
) -> None:
    assert service.client.get("/studies").status_code == 200

    refused = service.client.get("/studies", headers=headers)

    assert (refused.status_code, refused.json()["code"]) == (403, "only_local")
    assert service.client.get("/healthz", headers=headers).status_code == 200


def test_answers_carry_headers_that_browsers_obey(service: Service) -> None:
    headers = service.client.get("/studies").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "style-src" in service.client.get("/docs").headers["Content-Security-Policy"]


def test_a_body_that_is_no_upload_is_small(service: Service) -> None:
    path = f"/studies/{'a' * 26}/risk"
    claimed = service.client.post(path, content=b"{" + b" " * 2_000_000 + b"}")
    streamed = service.client.post(path, content=(b" " * 100_000 for _ in range(20)))
    for answer in (claimed, streamed):
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_the_audit_log_says_who_did_what_to_which_study(guarded: Guarded, study_zip: Path) -> None:
    writer = guarded.key("radiology")
    study_id = guarded.upload(writer, study_zip.read_bytes())
    guarded.service.work()
    guarded.ask(writer, "GET", f"/studies/{study_id}")
    guarded.ask(writer, "GET", f"/studies/{study_id}/score")
    guarded.ask(guarded.key("cardiology"), "GET", f"/studies/{study_id}/score")
    guarded.ask(writer, "DELETE", f"/studies/{study_id}")

    entries = list(SqlAuditLog(open_engine(guarded.service.settings.record_url)).entries())

    actor = f"key:{writer.split('_')[1]}"
    assert [(one.actor, one.tenant, one.action, one.study_id) for one in entries] == [
        (actor, "radiology", "POST /studies", None),
        (actor, "radiology", "study received", study_id),
        (actor, "radiology", "GET /studies/{study_id}/score", study_id),
        (actor, "radiology", "DELETE /studies/{study_id}", study_id),
    ]
    assert verify_chain(entries).is_sound
