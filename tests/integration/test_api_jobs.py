"""Watching, cancelling, retrying and scoring again over HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.events import event_number, event_stream
from service.cli.main import run
from tests.fakes import write_study_zip
from tests.integration.conftest import Service


def upload(service: Service, archive: Path, **query: str) -> dict[str, Any]:
    response = service.client.post(
        "/studies",
        params=query,
        content=archive.read_bytes(),
        headers={"Content-Type": "application/zip"},
    )
    assert response.status_code == 202, response.text
    study: dict[str, Any] = response.json()
    return study


def messages(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """Read server-sent events; comments and `retry` are left out."""
    message: dict[str, str] = {}
    for line in lines:
        if line == "" and message:
            yield message
            message = {}
        elif line and not line.startswith(("retry:", ":")):
            name, _, value = line.partition(": ")
            message[name] = value


def watched(service: Service, study_id: str, last_event_id: str | None = None) -> list[Any]:
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    with service.client.stream("GET", f"/studies/{study_id}/events", headers=headers) as stream:
        assert stream.status_code == 200
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        return [
            (message["id"], message["event"], json.loads(message["data"]))
            for message in messages(stream.iter_lines())
        ]


def test_watcher_sees_every_state_once_and_the_stream_ends_with_the_study(
    service: Service, study_zip: Path
) -> None:
    study_id = upload(service, study_zip)["id"]
    worker = threading.Timer(0.5, service.work)
    worker.start()
    seen = watched(service, study_id)
    worker.join()

    assert [int(number) for number, _, _ in seen] == list(range(1, len(seen) + 1))
    assert {name for _, name, _ in seen} == {"study"}
    states = [data["status"] for _, _, data in seen]
    assert (states[0], states[1], states[-1]) == ("queued", "running", "succeeded")
    stages = [data["stage"] for _, _, data in seen]
    assert [one for one in dict.fromkeys(stages) if one != "waiting"] == [
        "reading",
        "segmenting",
        "measuring",
        "writing",
        "finished",
    ]

    # From the third one on, as after a lost connection; and nothing after the last.
    assert watched(service, study_id, "2") == seen[2:]
    ended = service.client.get(
        f"/studies/{study_id}/events", headers={"Last-Event-ID": str(len(seen))}
    )
    assert ended.status_code == 204


def test_silent_stream_says_that_it_is_alive(service: Service, study_zip: Path) -> None:
    study_id = upload(service, study_zip)["id"]

    async def first_words(count: int) -> list[str]:
        stream = event_stream(service.parts.store, study_id, (), 1, poll_s=0.01, heartbeat_s=0.0)
        return [await anext(stream) for _ in range(count)]

    assert asyncio.run(first_words(3)) == ["retry: 2000\n\n", ": alive\n\n", ": alive\n\n"]


def test_stream_of_a_study_that_is_deleted_says_so(service: Service, study_zip: Path) -> None:
    study_id = upload(service, study_zip)["id"]
    with service.client.stream("GET", f"/studies/{study_id}/events") as stream:
        lines = messages(stream.iter_lines())
        assert next(lines)["id"] == "1"
        httpx.delete(f"{service.client.base_url}/studies/{study_id}")
        assert next(lines)["event"] == "deleted"
        assert list(lines) == []
    assert service.client.get(f"/studies/{study_id}/events").status_code == 404


@pytest.mark.parametrize(
    ("header", "number"),
    [(None, 0), ("", 0), ("7", 7), ("-1", 0), ("x", 0), ("9" * 30, 0), ("٣", 0)],
)
def test_last_event_id_that_is_not_ours_begins_anew(header: str | None, number: int) -> None:
    assert event_number(header) == number


def test_cancelled_study_is_not_scored_until_it_is_retried(
    service: Service, study_zip: Path
) -> None:
    study_id = upload(service, study_zip)["id"]
    cancelled = service.client.post(f"/studies/{study_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    service.work()
    problem = service.client.get(f"/studies/{study_id}/score")
    assert (problem.status_code, problem.json()["code"]) == (409, "study_cancelled")

    retried = service.client.post(f"/studies/{study_id}/retry")
    assert (retried.status_code, retried.json()["status"]) == (202, "queued")
    assert retried.headers["Location"] == f"/studies/{study_id}/score?version=2"
    service.work()
    assert service.client.get(retried.headers["Location"]).json()["agatston_score"] == 100.0
    over = service.client.post(f"/studies/{study_id}/cancel")
    assert (over.status_code, over.json()["code"]) == (409, "job_has_ended")


def test_another_protocol_makes_another_version_and_both_stay(
    service: Service, tmp_path: Path
) -> None:
    study_id = upload(service, write_study_zip(tmp_path / "a.zip"))["id"]
    service.work()
    rerun = service.client.post(f"/studies/{study_id}/rerun", json={"protocol": "ge"})
    assert (rerun.status_code, rerun.json()["job_number"]) == (202, 2)
    busy = service.client.post(f"/studies/{study_id}/rerun", json={})
    assert (busy.status_code, busy.json()["code"]) == (409, "study_busy")
    assert service.client.get(f"/studies/{study_id}/score").status_code == 200
    service.work()

    names = [
        service.client.get(f"/studies/{study_id}/score", params=query).json()["protocol"]["name"]
        for query in ({}, {"version": 1}, {"version": 2})
    ]
    assert names == ["ge", "literature", "ge"]
    listed = service.client.get(f"/studies/{study_id}/results").json()["results"]
    assert [(one["version"], one["protocol"]) for one in listed] == [(2, "ge"), (1, None)]
    masks = [
        service.client.get(f"/studies/{study_id}/mask", params={"version": version}).content
        for version in (1, 2)
    ]
    # The same network and scan: the same object, to the byte.
    assert masks[0] == masks[1]
    missing = service.client.get(f"/studies/{study_id}/score", params={"version": 3})
    assert (missing.status_code, missing.json()["code"]) == (404, "result_version_not_found")


def test_urgent_study_overtakes_and_the_queue_says_so(service: Service, tmp_path: Path) -> None:
    routine = upload(service, write_study_zip(tmp_path / "a.zip", seed=1))
    stat = upload(service, write_study_zip(tmp_path / "b.zip", seed=2), priority="stat")
    assert (routine["queue_position"], stat["queue_position"]) == (1, 1)
    assert service.client.get(f"/studies/{routine['id']}").json()["queue_position"] == 2
    again = upload(service, tmp_path / "a.zip", priority="stat")
    assert (again["priority"], again["queue_position"], again["eta_s"]) == ("stat", 1, None)


def test_command_line_cancels_retries_and_scores_again(
    service: Service, study_zip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = str(service.client.base_url)
    study_id = upload(service, study_zip)["id"]
    assert run(["cancel", url, study_id]) == 0
    assert f"Study {study_id} is cancelled." in capsys.readouterr().out
    assert run(["retry", url, study_id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["job_number"] == 2
    assert run(["retry", url, study_id]) == 1
    assert "wait for its end" in capsys.readouterr().err
    service.work()
    assert run(["rerun", url, study_id, "--protocol", "ge", "--priority", "stat"]) == 0
    assert "number 1 in the queue" in capsys.readouterr().out
    assert run(["submit", url, str(study_zip), "--priority", "stat"]) == 0
