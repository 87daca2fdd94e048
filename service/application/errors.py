"""Why the service cannot answer, as branches of the tree in :mod:`calcium_scoring.errors`.

```text
CacscoreError
├── StudyNotFound            no study of that id, or no longer
├── SliceNotFound            the scored series has no slice of that index
├── ArtefactNotFound         the result has no file of that name
├── ScoreNotReady            the study is still queued or running
├── StudyFailed              the study cannot be scored; carries the problem of its job
├── ReportRejected           a file that should be a report of cacscore is not one
├── RiskInputsMissing        age, sex, or race or ethnicity is needed for a risk and not known
├── RiskAgeOutOfRange        the equation of a risk does not hold at that age
├── InvalidCursor            a page of studies was asked for with a cursor we did not give out
├── StudyBusy                a job of the study is queued or running already
├── CallbackNotAllowed       a callback was asked for that the operator has not allowed
├── JobHasEnded              a job that is over cannot be cancelled
├── StudyCancelled           its job was cancelled before there was a score
├── RetryNotPossible         the study has a score, or was refused and its upload is gone
├── ResultVersionNotFound    the study has no result of that version
├── JobGivenUp               a job ended without a score though the series may be sound
│   ├── TooManyAttempts        every attempt ended with an unexpected error
│   ├── Poison                 the last attempt allowed took the process of its worker along
│   └── ScoringTimedOut        one attempt took longer than the time limit
├── NotAuthenticated         the caller is not known
├── NotAllowed               the caller is known, but may not do this
├── OnlyLocal                authentication is off, and the request came from elsewhere
├── TooManyRequests          a caller asks too often
├── InvalidTenant            a name that cannot be one of a tenant
├── KeyNotFound              no API key of that id
├── UploadNotFound           no resumable upload of that id, or no longer
├── UploadBusy               somebody else appends to the resumable upload
├── UploadTooLong            more bytes came than the resumable upload was announced with
├── PseudonymNotFound        the crosswalk does not know the pseudonym
├── CrosswalkSealed          the crosswalk was sealed with another key
├── InvalidDicomQuery        a DICOMweb query asks for what cannot be asked
├── DicomObjectNotFound      no result has objects of these UIDs
├── DestinationNotFound      the settings name no destination of that name
├── ProvisioningRefused      secrets of a first start cannot be made, or do not fit
├── RulesRejected            a file of routing rules cannot be used as it is
├── InstanceRejected         an instance was sent that nobody could read
│   └── InstanceMismatch       its data set is another instance than its command says
├── LeaseLost                this attempt no longer owns its job; whatever it writes is dropped
└── DependencyUnavailable    a part of the service is away; trying again later may help
    ├── ModelUnavailable
    ├── WorkerUnavailable
    ├── QueueUnavailable
    ├── RecordUnavailable
    ├── RecordSchemaUnknown    the database has the schema of another release
    ├── ArtefactUnavailable
    ├── SigningKeyUnusable
    ├── DestinationsUnusable   the file of destinations cannot be read or says something else
    ├── StorageFull
    ├── IdentityProviderUnavailable
    ├── ArchiveUnavailable     a DICOM archive does not answer, or not with success
    └── TooBusy                uploads come faster than they can be taken
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from calcium_scoring.errors import CacscoreError
from service.application.problem import Problem

_RETRY: Final = "Once the cause is removed, retry the study (POST /studies/{id}/retry)."


class StudyNotFound(CacscoreError):
    """There is no study of that id, or no longer."""

    code = "study_not_found"
    title = "There is no such study"

    def __init__(self, study_id: str) -> None:
        super().__init__("There is no study of this id; it may have been deleted.")
        self.study_id = study_id


class SliceNotFound(CacscoreError):
    """The scored series has no slice of that index."""

    code = "slice_not_found"
    title = "There is no such slice"

    def __init__(self, slice_index: int, slice_count: int) -> None:
        super().__init__(
            f"There is no slice {slice_index}; the scored series has slices 0 (lowest) to "
            f"{slice_count - 1}.",
            slice_index=slice_index,
            slice_count=slice_count,
        )


class ScoreNotReady(CacscoreError):
    """The study is still queued or running."""

    code = "score_not_ready"
    title = "The study has not been scored yet"

    def __init__(self, study_id: str, status: str) -> None:
        super().__init__(f"The study is {status}; ask again in a few seconds.", status=status)
        self.study_id = study_id


class StudyFailed(CacscoreError):
    """The study cannot be scored; ``problem`` says why, with the code of that reason."""

    code = "study_failed"
    title = "The study could not be scored"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail, **problem.evidence)
        self.problem = problem


class ReportRejected(CacscoreError):
    """A file that should be a report of cacscore is not one, or one of another schema."""

    code = "report_rejected"
    title = "The report cannot be read"


class RiskInputsMissing(CacscoreError):
    """Risk factors were given, but something else that the equation needs is not known."""

    code = "risk_inputs_missing"
    title = "More must be known of the patient for this risk"

    def __init__(self, unknown: Mapping[str, str]) -> None:
        facts = ", ".join(f"{name} ({why})" for name, why in unknown.items())
        super().__init__(
            f"Not known: {facts}. Give {', '.join(unknown)} beside the risk factors.",
            missing=list(unknown),
        )


class RiskAgeOutOfRange(CacscoreError):
    """The equation of the risk was made for other ages; beyond them it would be invented."""

    code = "risk_age_out_of_range"
    title = "The risk cannot be said at this age"

    def __init__(self, age_years: int, accepted_ages: tuple[int, int]) -> None:
        youngest, oldest = accepted_ages
        super().__init__(
            f"The patient is {age_years} years old; the equation holds from {youngest} to "
            f"{oldest} years.",
            age_years=age_years,
            youngest_years=youngest,
            oldest_years=oldest,
        )


class InvalidCursor(CacscoreError):
    """A page was asked for with a cursor that was not given out by this service."""

    code = "invalid_cursor"
    title = "The cursor is not valid"

    def __init__(self) -> None:
        super().__init__("Pass next_cursor of the page before, unchanged, or no cursor at all.")


class StudyBusy(CacscoreError):
    """A job of the study is queued or running already."""

    code = "study_busy"
    title = "The study is being scored already"

    def __init__(self, status: str) -> None:
        super().__init__(
            f"The study is {status}; wait for its end, or cancel it first.", status=status
        )


class CallbackNotAllowed(CacscoreError):
    """A callback was asked for that the operator has not allowed."""

    code = "callback_not_allowed"
    title = "The callback is not allowed"


class JobHasEnded(CacscoreError):
    """A job that has ended cannot be cancelled any more."""

    code = "job_has_ended"
    title = "There is nothing to cancel"

    def __init__(self, status: str) -> None:
        super().__init__(f"The study has {status} already.", status=status)


class StudyCancelled(CacscoreError):
    """The scoring of the study was cancelled, and it has no earlier score."""

    code = "study_cancelled"
    title = "Scoring was cancelled"

    def __init__(self) -> None:
        super().__init__(
            "Scoring was cancelled before there was a score. POST /studies/{id}/retry begins again."
        )


class RetryNotPossible(CacscoreError):
    """The study cannot be scored again as it is."""

    code = "retry_not_possible"
    title = "The study cannot be scored again"


class ResultVersionNotFound(CacscoreError):
    """The study has no result of that version."""

    code = "result_version_not_found"
    title = "There is no such version of the result"

    def __init__(self, version: int) -> None:
        super().__init__(
            f"The study has no job {version}; GET /studies/{{id}}/results lists what there is.",
            version=version,
        )


class JobGivenUp(CacscoreError):
    """The job ended without a score, though the series may be sound: no refusal, but a failure."""

    code = "job_given_up"
    title = "The study was given up"


class TooManyAttempts(JobGivenUp):
    """Every attempt that is allowed ended, the last one with an error nobody foresaw."""

    code = "too_many_attempts"
    title = "Scoring was tried several times and never finished"

    def __init__(self, attempt_count: int, last_reason: str) -> None:
        super().__init__(
            f"{attempt_count} attempts did not finish; the last one: {last_reason}. {_RETRY}",
            attempt_count=attempt_count,
            last_reason=last_reason,
        )


class Poison(JobGivenUp):
    """The last attempt allowed ended with the process of its worker: killed, crashed, or silent.

    ``last_exit`` names the signal or exit status of that process; None where nobody saw its end.
    """

    code = "poison"
    title = "Scoring this study kills the workers"

    def __init__(self, attempt_count: int, last_exit: str | None) -> None:
        end = "stopped answering" if last_exit is None else f"ended with {last_exit}"
        super().__init__(
            f"{attempt_count} attempts did not finish; the process of the last one {end}. "
            f"SIGKILL is mostly a lack of memory. {_RETRY}",
            attempt_count=attempt_count,
            last_exit=last_exit,
        )


class ScoringTimedOut(JobGivenUp):
    """One attempt took longer than the time limit of the worker."""

    code = "scoring_timed_out"
    title = "Scoring took longer than the time limit"

    def __init__(self, limit_s: float) -> None:
        super().__init__(
            f"Scoring took longer than {limit_s:.0f} s; the limit is the setting "
            f"CACSCORE_TASK_SOFT_TIME_LIMIT_S of the worker. {_RETRY}",
            limit_s=limit_s,
        )


GIVEN_UP_CODES: Final = frozenset(
    {JobGivenUp.code, TooManyAttempts.code, Poison.code, ScoringTimedOut.code}
)
"""Codes of a failed study that say nothing about its series; every other one is a refusal."""


class LeaseLost(CacscoreError):
    """An attempt no longer owns its job: deleted, finished, or taken over by another."""

    code = "lease_lost"
    title = "The job belongs to another attempt"

    def __init__(self, job_id: str, attempt: int) -> None:
        super().__init__(f"Attempt {attempt} no longer owns job {job_id}.", attempt=attempt)


class DependencyUnavailable(CacscoreError):
    """A part of the service cannot be reached; trying again later may help."""

    code = "dependency_unavailable"
    title = "A part of the service is unavailable"


class ModelUnavailable(DependencyUnavailable):
    """The model file is not there or the runtime cannot load it."""

    code = "model_unavailable"
    title = "The model cannot be loaded"


class WorkerUnavailable(DependencyUnavailable):
    """Studies wait, and no worker takes them up."""

    code = "worker_unavailable"
    title = "No worker takes studies up"


class QueueUnavailable(DependencyUnavailable):
    """The broker does not take messages; the record keeps the job until it does."""

    code = "queue_unavailable"
    title = "The queue cannot be reached"


class RecordUnavailable(DependencyUnavailable):
    """The database cannot be reached."""

    code = "record_unavailable"
    title = "The database cannot be reached"


class RecordSchemaUnknown(DependencyUnavailable):
    """The database has the schema of another release; nothing is read or written."""

    code = "record_schema_unknown"
    title = "The database has a schema that this release does not use"

    def __init__(self, *, found: str | None, needed: str, way_out: str) -> None:
        super().__init__(
            f"The database has schema {found or 'none'}; this release needs {needed}. {way_out}",
            found=found,
            needed=needed,
        )


class ArtefactUnavailable(DependencyUnavailable):
    """A file that the record names is not in the store."""

    code = "artefact_unavailable"
    title = "A stored file cannot be read"


class StorageFull(DependencyUnavailable):
    """The disk has no room for another upload."""

    code = "storage_full"
    title = "There is no room for another upload"


class SigningKeyUnusable(DependencyUnavailable):
    """The key that signs results, or one that should check them, cannot be used."""

    code = "signing_key_unusable"
    title = "The signing key cannot be used"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"The key {name} cannot be read or made ({reason}). An Ed25519 key in PEM is accepted; "
            "without the file a new key is made in the data folder."
        )


class DestinationsUnusable(DependencyUnavailable):
    """The file of destinations cannot be read, or says something else than destinations."""

    code = "destinations_unusable"
    title = "The destinations cannot be used"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"{name} (CACSCORE_DESTINATIONS_FILE) cannot be used: {reason}. See the page "
            "send-results-to-a-pacs of the documentation for what may stand there."
        )


class DestinationNotFound(CacscoreError):
    """The settings name no destination of that name."""

    code = "destination_not_found"
    title = "There is no such destination"

    def __init__(self, available: list[str]) -> None:
        names = ", ".join(available) or "none"
        super().__init__(
            f"The settings of the service name no such destination; they have: {names}.",
            available=available,
        )


class InvalidDicomQuery(CacscoreError):
    """A DICOMweb query asks for what cannot be asked."""

    code = "invalid_dicom_query"
    title = "The query cannot be answered"

    def __init__(self, complaint: str, accepted: tuple[str, ...]) -> None:
        hint = f" It can look for {', '.join(accepted)}." if accepted else ""
        super().__init__(f"{complaint}.{hint}", accepted=list(accepted))


class DicomObjectNotFound(CacscoreError):
    """No result of the caller's tenant has objects of these UIDs."""

    code = "dicom_object_not_found"
    title = "There is no such object among the results"

    def __init__(self) -> None:
        super().__init__(
            "No result has objects of these UIDs. Only results are given out, not the series that "
            "were sent."
        )


class ArchiveUnavailable(DependencyUnavailable):
    """A DICOM archive does not answer, or not with success."""

    code = "archive_unavailable"
    title = "The archive cannot be used"


class ArtefactNotFound(CacscoreError):
    """The result has no file of that name."""

    code = "artefact_not_found"
    title = "There is no such file"

    def __init__(self, available: list[str]) -> None:
        super().__init__(
            f"The result has no file of this name; it has {', '.join(available)}.",
            available=available,
        )


class TooBusy(DependencyUnavailable):
    """Uploads come faster than they can be taken; the same one may be sent again later."""

    code = "too_busy"
    title = "The service has as much to do as it can take"


class NotAuthenticated(CacscoreError):
    """The caller is not known: no key or token, or one that is not good."""

    code = "not_authenticated"
    title = "Who asks is not known"

    def __init__(self) -> None:
        super().__init__(
            "Send an API key that is valid as `Authorization: Bearer KEY` or `X-API-Key: KEY`; "
            "`cacscore keys create` makes one. A token of an identity provider must be current and "
            "made for this service."
        )


class NotAllowed(CacscoreError):
    """The caller is known, but may not do this."""

    code = "not_allowed"
    title = "The caller may not do this"

    def __init__(self, needed_scope: str) -> None:
        super().__init__(
            f"This needs scope {needed_scope!r}; the key or token has less.",
            needed_scope=str(needed_scope),
        )


class OnlyLocal(CacscoreError):
    """Authentication is off, and the request did not come from this machine as its own."""

    code = "only_local"
    title = "Without authentication only this machine is served"

    def __init__(self) -> None:
        super().__init__(
            "Authentication is off, so only requests of this machine to its loopback address are "
            "answered: no other address, no proxy, no other host name. Set CACSCORE_AUTH=required "
            "and make keys with `cacscore keys create` to serve others."
        )


class RulesRejected(CacscoreError):
    """A file of routing rules cannot be used: each complaint has its line, None for the file."""

    code = "rules_rejected"
    title = "The routing rules cannot be used"

    def __init__(self, file_name: str, complaints: Sequence[tuple[int | None, str]]) -> None:
        said = " ".join(
            f"{file_name}{'' if line is None else f', line {line}'}: {complaint}"
            for line, complaint in complaints
        )
        super().__init__(
            said,
            complaints=[{"line": line, "detail": complaint} for line, complaint in complaints],
        )
        self.complaints = tuple(complaints)


class InstanceRejected(CacscoreError):
    """An instance that was sent over a network cannot be understood; nothing of it is kept."""

    code = "instance_rejected"
    title = "The instance cannot be understood"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The data set {reason}. Accepted is a CT image with its SOP Class, SOP Instance and "
            "Study Instance UID."
        )


class InstanceMismatch(InstanceRejected):
    """The data set is of another class or instance than the command that sent it says."""

    code = "instance_mismatch"
    title = "The instance is not what its command says"

    def __init__(self) -> None:
        super().__init__("is of another SOP class or instance than its C-STORE request says")


class TooManyRequests(CacscoreError):
    """A caller asks too often, or sends too many uploads at once."""

    code = "too_many_requests"
    title = "Too many requests"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.retry_after_s = retry_after_s


class InvalidTenant(CacscoreError):
    """A name that cannot be one of a tenant."""

    code = "invalid_tenant"
    title = "The name of the tenant is not valid"

    def __init__(self) -> None:
        super().__init__(
            "A tenant's name has 1 to 63 lower-case letters, digits, '-' and '_', and begins with "
            "a letter or digit."
        )


class KeyNotFound(CacscoreError):
    """There is no API key of that id."""

    code = "key_not_found"
    title = "There is no such API key"

    def __init__(self, key_id: str) -> None:
        super().__init__("There is no API key of this id; see `cacscore keys list`.")
        self.key_id = key_id


class UploadNotFound(CacscoreError):
    """There is no resumable upload of that id, or no longer."""

    code = "upload_not_found"
    title = "There is no such upload"

    def __init__(self) -> None:
        super().__init__(
            "There is no upload of this id, or it was finished, deleted or given up long ago. "
            "Begin another one (POST /uploads)."
        )


class UploadBusy(CacscoreError):
    """Somebody else appends to the resumable upload."""

    code = "upload_busy"
    title = "The upload is being written by another request"

    def __init__(self) -> None:
        super().__init__("Another request writes to this upload; wait until it has ended.")


class UploadTooLong(CacscoreError):
    """More bytes came than the resumable upload was announced with."""

    code = "upload_too_long"
    title = "The upload is longer than announced"

    def __init__(self, length: int) -> None:
        super().__init__(
            f"The body goes beyond the {length} bytes of Upload-Length; what is beyond was not "
            "kept.",
            length=length,
        )


class PseudonymNotFound(CacscoreError):
    """The crosswalk has no entry for a pseudonym."""

    code = "pseudonym_not_found"
    title = "The crosswalk does not know this pseudonym"

    def __init__(self) -> None:
        super().__init__(
            "No study that is still here has this as pseudonym of its patient, study or series."
        )


class CrosswalkSealed(CacscoreError):
    """An entry of the crosswalk was sealed with another key."""

    code = "crosswalk_sealed"
    title = "The crosswalk cannot be opened with this key"


class ProvisioningRefused(CacscoreError):
    """What a first start needs cannot be made of what is there: certificate, password, key."""

    code = "provisioning_refused"
    title = "The service cannot be prepared for its start"


class IdentityProviderUnavailable(DependencyUnavailable):
    """The provider whose tokens are accepted does not answer."""

    code = "identity_provider_unavailable"
    title = "The identity provider cannot be reached"
