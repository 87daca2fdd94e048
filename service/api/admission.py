"""How many uploads a gateway takes at once: the others wait a little, or come again later.

An upload that waits for its place is not read, so the sender is slowed down by TCP and no memory
is used. Beyond the places to wait an upload is answered at once, with 503 and Retry-After, before
its body is read. Checking and keeping an upload has threads of its own: whoever asks for a status
or a score never waits behind uploads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from anyio import CapacityLimiter, to_thread

from service.application.errors import TooBusy

_T = TypeVar("_T")

UPLOAD_THREADS: Final = 8
"""Uploads of one gateway that are checked and kept at the same time. Our choice: a disk and a
SQLite record serve no more of them faster."""


@dataclass(frozen=True)
class AdmissionLimits:
    """Uploads received at once, uploads that wait, and for how long these do."""

    at_once: int
    waiting: int
    wait_s: float


class Admission:
    """The door of one gateway; ``on_change`` hears how many are received and how many wait.

    To be made within the event loop that uses it.
    """

    def __init__(self, limits: AdmissionLimits, on_change: Callable[[int, int], None]) -> None:
        self._limits = limits
        self._on_change = on_change
        self._places = asyncio.Semaphore(limits.at_once)
        self._threads = CapacityLimiter(UPLOAD_THREADS)
        self._received = 0
        self._waiting = 0

    async def work(self, task: Callable[..., _T], **arguments: object) -> _T:
        """Run a blocking part of an upload in one of the threads of uploads."""
        return await to_thread.run_sync(partial(task, **arguments), limiter=self._threads)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place for an upload; TooBusy where there is none and none becomes free."""
        if self._places.locked() and self._waiting >= self._limits.waiting:
            raise TooBusy(
                f"{self._received} uploads are being received and {self._waiting} wait; send this "
                "one later.",
                received=self._received,
                waiting=self._waiting,
            )
        await self._wait()
        self._received += 1
        self._tell()
        try:
            yield
        finally:
            self._received -= 1
            self._places.release()
            self._tell()

    async def _wait(self) -> None:
        self._waiting += 1
        self._tell()
        try:
            async with asyncio.timeout(self._limits.wait_s):
                await self._places.acquire()
        except TimeoutError as error:
            raise TooBusy(
                f"No place became free within {self._limits.wait_s:g} s; send this upload later.",
                received=self._received,
                waiting=self._waiting,
            ) from error
        finally:
            self._waiting -= 1

    def _tell(self) -> None:
        self._on_change(self._received, self._waiting)
