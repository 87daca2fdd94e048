"""From complete studies to jobs: rules say which series are scored, the rest is forgotten."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import structlog

from calcium_scoring.dicom.series_facts import series_facts
from calcium_scoring.errors import UploadRejected
from service.application.access import DEFAULT_TENANT, Principal, Scope
from service.application.errors import DependencyUnavailable
from service.application.incoming_studies import CompleteStudy, IncomingStudies, Sender
from service.application.jobs import StudyJob
from service.application.received_instances import Reception, submit_instances
from service.application.routing import Facts, Rules, plan_submissions

_log = structlog.get_logger(__name__)

_NO_RULE: Final = "no rule"


@dataclass(frozen=True)
class Desk:
    """Where complete studies go."""

    reception: Reception
    rules: Rules
    default_tenant: str = DEFAULT_TENANT


def receive_studies(incoming: IncomingStudies, desk: Desk) -> list[StudyJob]:
    """Route and submit every study that is complete by now; return what was submitted.

    A study that the service cannot take now stays for the next call, and so do those behind it.
    One that is refused is forgotten, as at the other doors; what the program itself cannot cope
    with is set aside.
    """
    submitted = []
    for study in incoming.complete():
        try:
            jobs = route_study(study, desk)
        except DependencyUnavailable as error:
            _log.warning("study_waits_to_be_taken", code=error.code)
            break
        except Exception as error:  # noqa: BLE001 - one study must not stop all others
            _log.exception("study_set_aside", error=type(error).__name__)
            incoming.set_aside(study)
            continue
        incoming.discard(study)
        submitted += jobs
    return submitted


def route_study(study: CompleteStudy, desk: Desk) -> list[StudyJob]:
    """Submit the series of a study that the rules want scored, in one or several studies.

    Doing so twice submits the same studies. What is refused is logged by its code. Raises
    DependencyUnavailable where the service cannot take it now.
    """
    log = _log.bind(
        calling_ae_title=study.sender.calling_ae_title, instance_count=len(study.instances)
    )
    if study.is_over_limit:
        log.warning("study_refused", code="upload_too_large")
        return []
    series, left_out = series_facts(study.instances)
    arrival = _arrival(study.sender)
    decided = [(one.files, desk.rules.decide({**one.values, **arrival})) for one in series]
    log.info(
        "study_routed",
        series_count=len(series),
        unreadable_count=len(left_out),
        scored_series_count=sum(decision.is_scored for _, decision in decided),
        rules=dict(Counter(one.rule.name if one.rule else _NO_RULE for _, one in decided)),
    )
    jobs = []
    for submission in plan_submissions(decided, default_tenant=desk.default_tenant):
        principal = Principal(
            f"aet:{study.sender.calling_ae_title}", submission.tenant, frozenset({Scope.WRITE})
        )
        try:
            job = submit_instances(
                submission.files,
                reception=desk.reception,
                principal=principal,
                request=submission.request,
            )
        except UploadRejected as refusal:
            log.warning("study_refused", code=refusal.code)
        else:
            log.info("study_submitted", study_id=job.study_id, job_id=job.job_id)
            jobs.append(job)
    return jobs


def _arrival(sender: Sender) -> Facts:
    return {
        "calling_ae_title": (sender.calling_ae_title,),
        "called_ae_title": (sender.called_ae_title,),
    }
