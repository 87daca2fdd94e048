"""Forget a study: first in the record, so that nobody can write to it any more, then its files."""

from __future__ import annotations

from service.application.ports import ArtefactStore, StudyStore


def delete_study(study_id: str, *, store: StudyStore, artefacts: ArtefactStore) -> None:
    """Remove every trace of a study; StudyNotFound where there is none.

    A worker that is busy with it loses its lease, drops what it has, and records nothing. Files
    that a crash leaves behind between the two steps are found by the reaper.
    """
    artefacts.remove(store.delete(study_id))
