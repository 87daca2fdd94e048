"""Whatever is killed, and whenever: every study is scored, once, with the same masks.

`make chaos` runs this file; CHAOS_STUDIES, CHAOS_KILLS, CHAOS_SEED and CHAOS_MODEL (``threshold``
or ``bundled``) set its size. Kills are SIGKILLs of a scoring process, of the worker's parent, of
the gateway and of the broker, each aimed at a stage of a running study. Half of all is done with a
broker that keeps no append-only file and so forgets all messages.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from calcium_scoring.scoring.conventions import CONVENTIONS
from service.adapters.onnx.segmenter import OnnxSegmenter
from service.application.artefact_names import MASK_DICOM, MASK_NIFTI
from service.application.score_series import score_series
from service.application.write_artefacts import write_artefacts
from service.settings import DEFAULT_MODEL_PATH
from tests.chaos.processes import ServiceUnderTest, kill, running_service, shuffled
from tests.fakes import write_study_zip, write_threshold_model
from tests.webhook_receiver import SECRET, Receiver, receiver

STUDIES: Final = int(os.environ.get("CHAOS_STUDIES", "4"))
KILLS: Final = int(os.environ.get("CHAOS_KILLS", "8"))
SEED: Final = int(os.environ.get("CHAOS_SEED", "1"))
MODEL: Final = os.environ.get("CHAOS_MODEL", "threshold")

PATIENCE_S: Final = float(os.environ.get("CHAOS_PATIENCE_S", "600"))
"""After the last kill; a study that has not ended by then is stuck."""

FAULTS: Final = ("scoring process", "worker parent", "gateway", "broker")
STATES: Final = ("queued", "waiting", "reading", "segmenting", "measuring", "writing")
AIM_S: Final = 15.0
"""How long a kill waits for a study to reach the stage it is aimed at."""

SLICES: Final = 10


def state_of_jobs(record: Path) -> str | None:
    """Return the stage of a running study, ``queued`` if all wait, None if all have ended."""
    with closing(sqlite3.connect(f"file:{record}?mode=ro", uri=True, timeout=30)) as connection:
        rows = connection.execute(
            "SELECT status, stage FROM jobs WHERE status IN ('queued', 'running')"
        ).fetchall()
    stages = [stage for status, stage in rows if status == "running"]
    return stages[0] if stages else ("queued" if rows else None)


def aim(service: ServiceUnderTest, state: str) -> str | None:
    """Wait for a state, for a while; return the one that there is then."""
    deadline = time.monotonic() + AIM_S
    while True:
        found = state_of_jobs(service.record)
        if found == state or time.monotonic() > deadline:
            return found
        time.sleep(0.005)


def strike(service: ServiceUnderTest, fault: str) -> None:
    """Kill what the fault names; a scoring process is waited for while its parent starts."""
    if fault == "scoring process":
        service.wait_until(
            lambda: any(kill(one) for one in service.worker.forked_children()[:1]),
            "A scoring process",
        )
        return
    {
        "worker parent": service.worker,
        "gateway": service.gateway,
        "broker": service.broker,
    }[fault].kill()


def undisturbed(archive: Path, folder: Path, model: Path) -> dict[str, bytes]:
    """Score a series in this process and return its artefacts."""
    workdir, out = folder / "work", folder / "out"
    workdir.mkdir(parents=True)
    out.mkdir()
    scored = score_series(
        archive,
        workdir=workdir,
        segmenter=OnnxSegmenter(model, threads=1),
        protocol=CONVENTIONS["literature"],
    )
    return {name: (out / name).read_bytes() for name in write_artefacts(scored, out)}


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in the way of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


@pytest.mark.chaos
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize(
    "append_only", [True, False], ids=["broker with AOF", "broker without AOF"]
)
def test_nothing_is_lost_or_done_twice_whatever_is_killed(
    append_only: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = random.Random(SEED + append_only)  # noqa: S311 - no secret
    studies, kills = (STUDIES + append_only) // 2, (KILLS + append_only) // 2
    model = DEFAULT_MODEL_PATH
    if MODEL == "threshold":
        model = write_threshold_model(tmp_path / "model.onnx", work_size=300)
    archives = [
        write_study_zip(
            tmp_path / f"{number}.zip",
            seed=number,
            slice_count=SLICES,
            plaque_slices=1 + number % 8,
        )
        for number in range(studies)
    ]
    faults = shuffled(FAULTS, kills, SEED)
    targets = shuffled(STATES, kills, SEED + 1)
    struck: Counter[tuple[str, str]] = Counter()
    accepted: dict[str, Path] = {}
    begun = time.monotonic()

    with (
        receiver(200) as there,
        running_service(
            tmp_path / "service",
            {
                "CACSCORE_MODEL_PATH": str(model),
                "CACSCORE_WEBHOOK_URLS": there.url,
                "CACSCORE_WEBHOOK_SECRET": SECRET,
                "CACSCORE_WEBHOOK_NETWORKS": "127.0.0.0/8",
            },
            append_only=append_only,
        ) as service,
    ):

        def send_next() -> None:
            archive = archives[len(accepted)]
            accepted[str(service.upload(archive, callback_url=there.url)["id"])] = archive

        for number in range(kills):
            # Uploads keep pace with the kills, and one study at least is there to be disturbed.
            while len(accepted) < studies and (
                len(accepted) * kills < (number + 1) * studies
                or state_of_jobs(service.record) is None
            ):
                send_next()
            if faults[number] == "scoring process":
                service.wait_until(
                    lambda: bool(service.worker.forked_children()), "A scoring process"
                )
            state = aim(service, targets[number])
            strike(service, faults[number])
            struck[faults[number], state or "all ended"] += 1
            time.sleep(generator.uniform(0.0, 0.5))
        while len(accepted) < studies:
            send_next()

        def count_unfinished() -> int:
            return sum(
                service.study(study_id)["status"] in ("queued", "running") for study_id in accepted
            )

        deadline = time.monotonic() + PATIENCE_S
        while count_unfinished() and time.monotonic() < deadline:
            time.sleep(1.0)

        stuck = count_unfinished()

        def all_are_told() -> bool:
            return len(_told(there)) == len(accepted) - stuck

        # A gateway that died while it sent has its lease for five minutes.
        service.wait_until(all_are_told, "A webhook for every study", 600.0)
        told = _told(there)
        lost = doubled = different = attempts = 0
        with closing(sqlite3.connect(service.record)) as record:
            for study_id, archive in accepted.items():
                study = service.study(study_id)
                attempts += int(str(study["attempt"]))
                if study["status"] != "succeeded":
                    lost += study["status"] not in ("queued", "running")
                    continue
                doubled += _effects(record, service, study_id) != _ONE_OF_EACH
                doubled += told[study_id] != 1
                different += _differs(
                    service, study_id, undisturbed(archive, tmp_path / study_id, model)
                )
            orphans = _orphans(record, service)

    states = [*STATES, "all ended"]
    kills_by_state = [
        [fault, *(struck[fault, state] for state in states), sum(struck[fault, s] for s in states)]
        for fault in FAULTS
    ]
    outcome = [len(accepted), lost, doubled, stuck, different, orphans]
    words = [
        (
            f"Broker {'with' if append_only else 'without'} AOF, model {MODEL}, seed {SEED}: "
            f"{len(accepted)} studies, {struck.total()} kills, {attempts} attempts, "
            f"{time.monotonic() - begun:.0f} s"
        ),
        table(["killed, by state of a study", *states, "all"], kills_by_state),
        table(
            ["accepted", "lost", "done twice", "stuck", "other masks", "files of nobody"], [outcome]
        ),
    ]
    with capsys.disabled():
        sys.stdout.write("\n\n" + "\n\n".join(words) + "\n")
    assert (len(accepted), struck.total()) == (studies, kills)
    assert (lost, doubled, stuck, different, orphans) == (0, 0, 0, 0, 0)


_ONE_OF_EACH: Final = {"jobs": 1, "results": 1, "ends": 1, "reports": 1, "masks": 1}


def _effects(
    record: sqlite3.Connection, service: ServiceUnderTest, study_id: str
) -> dict[str, int]:
    """Count everything that scoring a study leaves behind."""

    def count(query: str) -> int:
        return int(record.execute(query, (study_id,)).fetchone()[0])

    folder = service.data_folder / "artefacts" / "studies"
    return {
        "jobs": count("SELECT count(*) FROM jobs WHERE study_id = ?"),
        "results": count(
            "SELECT count(*) FROM results JOIN jobs ON jobs.id = results.job_id WHERE study_id = ?"
        ),
        "ends": count(
            "SELECT count(*) FROM job_events WHERE study_id = ? AND status = 'succeeded'"
        ),
        "reports": len(list(folder.glob(f"{study_id}-*/*/report.json"))),
        "masks": len(list(folder.glob(f"{study_id}-*/*/{MASK_DICOM}"))),
    }


def _told(there: Receiver) -> Counter[str]:
    """Count the delivery ids under which the end of each study was told."""
    ids = {
        (json.loads(body)["data"]["study_id"], headers["webhook-id"])
        for _, headers, body in list(there.requests)
    }
    return Counter(study_id for study_id, _ in ids)


def _differs(service: ServiceUnderTest, study_id: str, expected: dict[str, bytes]) -> bool:
    """Tell whether what the gateway serves is not what an undisturbed run gives, to the byte."""
    for name, query in (
        ("report.json", "score"),
        (MASK_DICOM, "mask?format=dicom"),
        (MASK_NIFTI, "mask?format=nifti"),
    ):
        path = f"/studies/{study_id}/{query}"
        response = service.insist(lambda client, path=path: client.get(path))  # type: ignore[misc]
        if response.status_code != 200 or response.content != expected[name]:
            return True
    return False


def _orphans(record: sqlite3.Connection, service: ServiceUnderTest) -> int:
    """Count folders that no study needs, but for those of uploads that a kill cut short.

    The reaper removes those an hour later.
    """
    known = {row[0].rsplit("/", 1)[-1] for row in record.execute("SELECT folder FROM studies")}
    folders = (service.data_folder / "artefacts" / "studies").iterdir()
    return sum(
        1
        for folder in folders
        if folder.name not in known and any(path.is_dir() for path in folder.iterdir())
    )
