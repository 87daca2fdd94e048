"""Hold the simulation against a running service.

`python -m tests.benchmarks.queueing_measured --url URL --archive ct.zip --workers N`

Sends copies of a study at times of a Poisson process, then asks the service when each was begun and
ended. The simulation gets the same arrivals and the same scoring times: what it then says of the
waits differs from what was measured by the time that announcing and claiming a study take.
CACSCORE_API_KEY is sent where it is set; `--trust` names a certificate to trust.
"""

from __future__ import annotations

import argparse
import io
import os
import ssl
import sys
import time
import zipfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.benchmarks.queueing import md1_mean_wait_s, waiting_times


def copy_of(archive: bytes, number: int) -> bytes:
    """Return an archive of the same files with other bytes; the same bytes are the same study."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as copy,
    ):
        for index, info in enumerate(source.infolist()):
            copy.writestr(f"{number:06}/{index:06}.dcm", source.read(info))
    return target.getvalue()


def send_all(client: httpx.Client, archive: bytes, sending_s: np.ndarray) -> list[str]:
    """Send a copy at each of these times from now; return the ids of the studies."""
    copies = [copy_of(archive, number) for number in range(len(sending_s))]
    begin = time.monotonic()
    ids = []
    for content, at in zip(copies, sending_s.tolist(), strict=True):
        time.sleep(max(0.0, begin + at - time.monotonic()))
        answer = client.post(
            "/studies", content=content, headers={"Content-Type": "application/zip"}
        )
        answer.raise_for_status()
        ids.append(str(answer.json()["id"]))
    return ids


def wait_for_all(client: httpx.Client, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the studies once all have ended, in the order in which they were accepted."""
    ended: dict[str, dict[str, Any]] = {}
    while len(ended) < len(ids):
        for study_id in ids:
            if study_id not in ended:
                found = client.get(f"/studies/{study_id}").raise_for_status().json()
                if found["finished_at"] is not None:
                    ended[study_id] = found
        time.sleep(1.0)
    return sorted(ended.values(), key=lambda study: str(study["created_at"]))


def main(words: Sequence[str] | None = None) -> int:
    """Measure, simulate, print both."""
    parser = argparse.ArgumentParser(description="Measured and simulated waits.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--workers", type=int, required=True, help="that the service has")
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--interval-s", type=float, required=True, help="mean time between studies")
    parser.add_argument("--trust", type=Path, help="certificate of the server, PEM")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(words)
    random = np.random.default_rng(arguments.seed)
    sending_s = np.cumsum(random.exponential(arguments.interval_s, arguments.studies))
    key = os.environ.get("CACSCORE_API_KEY")
    with httpx.Client(
        base_url=arguments.url,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        verify=ssl.create_default_context(
            cafile=None if arguments.trust is None else str(arguments.trust)
        ),
        timeout=120.0,
    ) as client:
        ids = send_all(client, arguments.archive.read_bytes(), sending_s)
        studies = wait_for_all(client, ids)
    times = np.array(
        [
            [
                datetime.fromisoformat(study[name]).timestamp()
                for name in ("created_at", "started_at", "finished_at")
            ]
            for study in studies
        ]
    )
    arrivals_s, scoring_s = times[:, 0] - times[0, 0], times[:, 2] - times[:, 1]
    measured_s = times[:, 1] - times[:, 0]
    simulated_s = waiting_times(arrivals_s, scoring_s, workers=arguments.workers)
    rate = (len(studies) - 1) / arrivals_s[-1]
    load = rate * scoring_s.mean() / arguments.workers
    lines = [
        f"{len(studies)} studies, {arguments.workers} workers, one every {1 / rate:.1f} s",
        f"scoring {scoring_s.mean():.2f} s, deviation {scoring_s.std():.2f} s, load {load:.2f}",
        "waits, s     mean    p50    p90    p99",
    ]
    for name, waits in (("measured", measured_s), ("simulated", simulated_s)):
        p50, p90, p99 = np.percentile(waits, (50, 90, 99))
        lines.append(f"{name:10} {waits.mean():6.2f} {p50:6.2f} {p90:6.2f} {p99:6.2f}")
    lines.append(
        f"each study: median difference {np.median(measured_s - simulated_s):.2f} s, "
        f"largest {np.max(np.abs(measured_s - simulated_s)):.2f} s"
    )
    if arguments.workers == 1 and rate * scoring_s.mean() < 1:
        formula = md1_mean_wait_s(rate, float(scoring_s.mean()))
        lines.append(f"M/D/1 for endless arrivals at this rate: mean {formula:.2f} s")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
