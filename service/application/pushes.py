"""Sending results on to where they are read: an archive, a reporting system, a research node.

The operator names the destinations; nobody else can. The end of a job and the pushes of its results
are one transaction of the record (an outbox), so none is forgotten and none is made twice. A push
is repeated until its destination has every object or says that it will not take one. All UIDs
follow from series, model and rules: what arrives twice is one object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

import structlog

from calcium_scoring.volume.derived_uid import derived_uid
from service.application import artefact_names as names
from service.application.errors import ArtefactUnavailable
from service.application.webhooks import pause_after

_log = structlog.get_logger(__name__)

COMMITMENT_WAIT: Final = timedelta(hours=1)
"""How long the report of a storage commitment is waited for before it is asked for again; most
archives decide within minutes, some at night. Our choice."""

COMMITMENT_ASKS: Final = 3
"""So often a storage commitment is asked for; our choice."""

LEASE: Final = timedelta(minutes=5)
"""After a sender that is lost another one begins; extended before each object. Our choice."""


class ObjectKind(StrEnum):
    """Which of the DICOM objects of a result a destination gets."""

    SEG = "seg"
    """Masks of arteries and of lesions."""
    SR = "sr"
    """The structured report."""
    SC = "sc"
    """Key images, Secondary Capture."""
    PDF = "pdf"
    """The printed page, encapsulated."""

    def has(self, name: str) -> bool:
        """Tell whether an artefact of this name is of this kind."""
        match self:
            case ObjectKind.SEG:
                return name in {names.MASK_DICOM, names.LESIONS_DICOM}
            case ObjectKind.SR:
                return name == names.REPORT_SR
            case ObjectKind.SC:
                return name.startswith(names.KEY_IMAGE_PREFIX) and name.endswith(".dcm")
            case ObjectKind.PDF:
                return name == names.REPORT_PDF_DICOM


@dataclass(frozen=True)
class DestinationTerms:
    """What a destination is sent, and when; where it is, is for the adapter to know."""

    name: str
    objects: frozenset[ObjectKind] = frozenset(ObjectKind)
    is_automatic: bool = True
    """Whether every result goes there; else only those of jobs that name it."""
    commitment_wait: timedelta = COMMITMENT_WAIT
    """After it the destination is asked again whether it keeps what it took."""


@dataclass(frozen=True)
class Push:
    """The results of a job on their way to one destination."""

    id: str
    study_id: str
    result_key: str
    destination: str
    attempt: int
    """Attempts begun, this one included; the fence of what is written about it."""
    tries: int
    """Attempts begun since the push was last asked for; what pauses count from."""
    commitment_asks: int = 0
    """How often the destination was asked to commit to what it has taken; 0: it has not got it."""

    @property
    def is_stored(self) -> bool:
        """Whether the destination took every object, and only its commitment is waited for."""
        return self.commitment_asks > 0


@dataclass(frozen=True)
class Commitment:
    """What a destination says of a storage commitment (N-EVENT-REPORT, PS3.4 J.3.3)."""

    transaction_uid: str
    failed_count: int
    """Objects that it does not keep; 0 where it has committed to all."""


@dataclass(frozen=True)
class PushOutcome:
    """What came of an attempt.

    ``is_refused`` says that trying again would not help; ``commitment_uid`` is the transaction UID
    of a storage commitment that the destination was asked for and has agreed to decide on.
    """

    is_sent: bool
    words: str
    is_refused: bool = False
    commitment_uid: str | None = None
    commitment: Commitment | None = None
    """What the destination has said of it already."""


def commitment_uid(push_id: str, attempt: int) -> str:
    """Return the transaction UID under which an attempt asks for storage commitment."""
    return derived_uid("commitment", push_id, str(attempt))


class PushOutbox(Protocol):
    """Pushes that wait; every method is one transaction."""

    def take_due(self, *, lease: timedelta) -> Push | None:
        """Begin an attempt at a push whose time has come; nobody else begins one meanwhile."""
        ...

    def extend(self, push: Push, *, lease: timedelta) -> bool:
        """Let the lease count from now; False where another attempt has begun since."""
        ...

    def settle(self, push: Push, outcome: PushOutcome, *, pause: timedelta | None) -> None:
        """Keep what came of an attempt; without a pause there is no further one.

        After the pause an attempt that sent everything is followed by one that only asks for the
        commitment. Nothing happens where another attempt has begun since.
        """
        ...

    def settle_asking(self, push: Push, outcome: PushOutcome, *, pause: timedelta | None) -> None:
        """Keep what came of asking again for a commitment; without a pause nobody asks any more.

        What was stored stays so, whatever the outcome.
        """
        ...

    def settle_commitment(self, commitment: Commitment) -> bool:
        """Keep what a destination says of a commitment; False where nobody waits for it.

        Objects that it does not keep are sent again.
        """
        ...

    def request(self, study_id: str, destination: str) -> None:
        """Have the newest result of a study pushed, at once; nothing where there is no result."""
        ...


class PushSender(Protocol):
    """Sends objects; never raises for what the destination does."""

    def send(
        self, push: Push, objects: Sequence[Path], is_still_ours: Callable[[], bool]
    ) -> PushOutcome:
        """Send these DICOM files; stop where the attempt is no longer ours."""
        ...

    def ask_for_commitment(self, push: Push, objects: Sequence[Path]) -> PushOutcome:
        """Ask for the storage commitment of files that were sent before; send none of them."""
        ...


class ResultFiles(Protocol):
    """What a push needs of the artefact store."""

    def local_copy(self, key: str) -> AbstractContextManager[Path]:
        """Give a local path that holds the file, read-only; ArtefactUnavailable where none is."""
        ...


def push_due(
    *,
    outbox: PushOutbox,
    files: ResultFiles,
    file_names: Callable[[str], Iterable[str]],
    senders: Mapping[str, PushSender],
    terms: Mapping[str, DestinationTerms],
    lease: timedelta = LEASE,
) -> bool:
    """Attempt one push whose time has come; False where there is none.

    Parameters
    ----------
    file_names
        Returns the names of the files of a result, by its key.
    senders, terms
        By name of the destination.
    """
    push = outbox.take_due(lease=lease)
    if push is None:
        return False
    if push.is_stored:
        _ask_again(push, outbox, files=files, file_names=file_names, senders=senders, terms=terms)
        return True
    sender, wanted = senders.get(push.destination), terms.get(push.destination)
    if sender is None or wanted is None:
        outcome = _refused("the settings name no destination of this name")
    else:
        try:
            chosen = chosen_objects(file_names(push.result_key), wanted.objects)
            outcome = _attempt(push, chosen, outbox=outbox, files=files, sender=sender, lease=lease)
        except ArtefactUnavailable as error:
            outcome = PushOutcome(is_sent=False, words=error.message)
    pause = None if outcome.is_sent or outcome.is_refused else pause_after(push.tries)
    if outcome.is_sent and outcome.commitment_uid is not None:
        pause = COMMITMENT_WAIT if wanted is None else wanted.commitment_wait
    outbox.settle(push, outcome, pause=pause)
    if outcome.commitment is not None:
        outbox.settle_commitment(outcome.commitment)
    _log.log(
        20 if outcome.is_sent else 30,
        "push_attempted",
        push_id=push.id,
        study_id=push.study_id,
        destination=push.destination,
        attempt=push.attempt,
        outcome=outcome.words,
        is_given_up=pause is None and not outcome.is_sent,
    )
    return True


def _ask_again(
    push: Push,
    outbox: PushOutbox,
    *,
    files: ResultFiles,
    file_names: Callable[[str], Iterable[str]],
    senders: Mapping[str, PushSender],
    terms: Mapping[str, DestinationTerms],
) -> None:
    """Ask a destination that has everything whether it keeps it; say so once it was asked enough.

    It is not sent again: it may have been read, moved or corrected there since.
    """
    sender, wanted = senders.get(push.destination), terms.get(push.destination)
    pause: timedelta | None = None
    if push.commitment_asks >= COMMITMENT_ASKS:
        words = f"storage commitment was asked for {push.commitment_asks} times and not reported"
        outcome = PushOutcome(is_sent=True, words=words)
    elif sender is None or wanted is None:
        outcome = _refused("the settings name no destination of this name any more")
    else:
        pause = wanted.commitment_wait
        try:
            with ExitStack() as open_files:
                chosen = chosen_objects(file_names(push.result_key), wanted.objects)
                paths = _local(chosen, push, files, open_files)
                outcome = sender.ask_for_commitment(push, paths)
        except ArtefactUnavailable as error:
            outcome = PushOutcome(is_sent=False, words=error.message)
    outbox.settle_asking(push, outcome, pause=pause)
    if outcome.commitment is not None:
        outbox.settle_commitment(outcome.commitment)
    _log.log(
        20 if pause is not None else 30,
        "commitment_asked_for",
        push_id=push.id,
        study_id=push.study_id,
        destination=push.destination,
        asks=push.commitment_asks,
        outcome=outcome.words,
    )


def _local(
    chosen: Sequence[str], push: Push, files: ResultFiles, open_files: ExitStack
) -> list[Path]:
    return [
        open_files.enter_context(files.local_copy(f"{push.result_key}/{name}")) for name in chosen
    ]


def _attempt(
    push: Push,
    chosen: Sequence[str],
    *,
    outbox: PushOutbox,
    files: ResultFiles,
    sender: PushSender,
    lease: timedelta,
) -> PushOutcome:
    if not chosen:
        return _refused("the result has none of the objects that go there")
    with ExitStack() as open_files:
        paths = _local(chosen, push, files, open_files)
        return sender.send(push, paths, lambda: outbox.extend(push, lease=lease))


def _refused(words: str) -> PushOutcome:
    return PushOutcome(is_sent=False, words=words, is_refused=True)


def chosen_objects(file_names: Iterable[str], kinds: Iterable[ObjectKind]) -> list[str]:
    """Return the files that are DICOM objects of these kinds, in their order."""
    wanted = tuple(kinds)
    return [name for name in file_names if any(kind.has(name) for kind in wanted)]
