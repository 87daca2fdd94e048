"""The door of a gateway: some uploads are received, some wait, the others come again later."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest
from starlette.concurrency import run_in_threadpool

from service.api.admission import UPLOAD_THREADS, Admission, AdmissionLimits
from service.application.errors import TooBusy


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, timeout=30.0))


def admission(*, at_once: int, waiting: int, wait_s: float = 5.0) -> Admission:
    return Admission(AdmissionLimits(at_once, waiting, wait_s), lambda _received, _waiting: None)


def test_upload_beyond_places_and_waiting_room_is_turned_away_at_once() -> None:
    async def test() -> None:
        door = admission(at_once=2, waiting=1)
        may_end = asyncio.Event()

        async def upload() -> None:
            async with door.place():
                await may_end.wait()

        others = [asyncio.create_task(upload()) for _ in range(3)]
        await asyncio.sleep(0.01)
        with pytest.raises(TooBusy) as caught:
            async with door.place():
                pass
        assert caught.value.evidence == {"received": 2, "waiting": 1}

        may_end.set()
        # The one that waited got its place.
        await asyncio.gather(*others)
        async with door.place():
            pass

    run(test())


def test_upload_that_waits_in_vain_is_told_to_come_again() -> None:
    async def test() -> None:
        door = admission(at_once=1, waiting=5, wait_s=0.05)
        async with door.place():
            with pytest.raises(TooBusy, match=r"within 0\.05 s"):
                async with door.place():
                    pass
        async with door.place():
            pass

    run(test())


def test_place_of_a_client_that_goes_away_is_free_again() -> None:
    async def test() -> None:
        door = admission(at_once=1, waiting=1)

        async def upload() -> None:
            async with door.place():
                await asyncio.sleep(60.0)

        received, waiting = asyncio.create_task(upload()), asyncio.create_task(upload())
        await asyncio.sleep(0.01)
        for one in (waiting, received):
            one.cancel()
        await asyncio.gather(received, waiting, return_exceptions=True)
        async with door.place():
            pass

    run(test())


def test_uploads_at_work_leave_threads_to_whoever_asks_for_a_score() -> None:
    async def test() -> None:
        door = admission(at_once=100, waiting=0)
        may_end = threading.Event()
        working = [
            asyncio.create_task(door.work(may_end.wait)) for _ in range(UPLOAD_THREADS + 100)
        ]
        await asyncio.sleep(0.05)
        # The pool in which routes run.
        score = run_in_threadpool(lambda: "score")
        assert await asyncio.wait_for(score, timeout=5.0) == "score"
        may_end.set()
        assert all(await asyncio.gather(*working))

    run(test())


def test_numbers_at_the_door_are_told_with_every_change() -> None:
    async def test() -> None:
        told: list[tuple[int, int]] = []
        door = Admission(AdmissionLimits(1, 1, 5.0), lambda *numbers: told.append(numbers))
        async with door.place():
            assert told[-1] == (1, 0)
        assert told[-1] == (0, 0)

    run(test())
