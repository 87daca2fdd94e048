"""schemathesis on a running gateway that has a scored study: `make fuzz-api`.

Every operation of the OpenAPI document, all checks: no server error, only documented statuses,
types and schemas, no way around the key, no positive answer to what the document forbids.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from service.adapters.database.engine import open_engine
from service.adapters.database.key_store import SqlKeyStore
from service.adapters.database.schema import upgrade_schema
from service.application.access import Scope, create_key
from service.settings import Settings
from service.worker.wiring import worker_parts
from tests.integration.conftest import Broker, Service, running_gateway

EXAMPLES = int(os.environ.get("CACSCORE_FUZZ_EXAMPLES", "5"))
"""Generated requests for each operation; `make fuzz-api` asks for 100."""

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
SECONDS_BETWEEN_JOBS = 5.0
HOOKS = Path(__file__).with_name("hooks.py")


@contextmanager
def working(service: Service) -> Iterator[None]:
    """Score what requests queue, as a worker does: without one `/readyz` rightly fails."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(SECONDS_BETWEEN_JOBS):
            service.work()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.timeout(3 * 3600)
def test_no_generated_request_breaks_the_contract(
    settings: Settings, study_zip: Path, tmp_path: Path, broker: Broker
) -> None:
    guarded = settings.model_copy(
        update={
            "auth": "required",
            "rate_limit_per_s": 0.0,
            "broker_url": SecretStr(broker.url),
        }
    )
    guarded.data_dir.mkdir(parents=True)
    engine = open_engine(guarded.record_url)
    upgrade_schema(engine)
    key = create_key(SqlKeyStore(engine), name="fuzz", scopes=[Scope.ADMIN])[1]
    with running_gateway(guarded) as client:
        headers = {"Authorization": f"Bearer {key}"}
        sent = client.post(
            "/studies",
            content=study_zip.read_bytes(),
            headers={**headers, "Content-Type": "application/zip"},
        )
        assert sent.status_code == 202
        service = Service(client, guarded, worker_parts(guarded))
        service.work()
        with working(service):
            outcome = subprocess.run(
                [
                    *(sys.executable, "-m", "schemathesis.cli"),
                    *("--config-file", str(CONFIGURATION), "run"),
                    f"{client.base_url}/openapi.json",
                    *("--header", f"Authorization: Bearer {key}"),
                    # All checks are on unless the configuration says otherwise.
                    *("--max-examples", str(EXAMPLES), "--seed", "1"),
                    *("--request-timeout", "60", "--no-color", "--continue-on-failure"),
                ],
                cwd=tmp_path,
                env={
                    **os.environ,
                    "SCHEMATHESIS_HOOKS": str(HOOKS),
                    "CACSCORE_FUZZ_STUDY_ID": sent.json()["id"],
                },
                capture_output=True,
                text=True,
                check=False,
            )
    assert outcome.returncode == 0, outcome.stdout[-20_000:] + outcome.stderr[-2_000:]
