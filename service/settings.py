"""Settings of gateway, worker and embedded service: environment variables ``CACSCORE_...``.

Read by wiring only; use cases and adapters receive values.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import timedelta
from importlib.resources import files
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from calcium_scoring.scoring.conventions import CONVENTIONS, ConventionName
from calcium_scoring.scoring.mass_score import LARGEST_MASS_CALIBRATION_FACTOR
from calcium_scoring.scoring.protocol import ScoringProtocol
from calcium_scoring.scoring.tube_voltage import TubeVoltageTableName
from calcium_scoring.upload.archive import MIB, ArchiveLimits
from service.adapters.signing.key_file import KEY_FILE
from service.adapters.storage.s3_location import S3Location
from service.application.access import ASYMMETRIC_ALGORITHMS, DEFAULT_TENANT, TENANT_PATTERN
from service.application.crosswalk import key_bytes
from service.application.jobs import LeaseTerms
from service.application.webhooks import (
    PAUSES,
    DeliveryLimits,
    WebhookPolicy,
    check_allowed_urls,
    secret_bytes,
)

DEFAULT_MODEL_PATH: Final = Path(str(files("service.adapters.onnx") / "calcium_segmenter.onnx"))

ENVIRONMENT_PREFIX: Final = "CACSCORE_"

SECRETS_DIR_VARIABLE: Final = f"{ENVIRONMENT_PREFIX}SECRETS_DIR"
"""Names a folder with one file for each secret setting: ``cacscore_database_url``, ..."""

_ARCHIVE: Final = ArchiveLimits()


class Settings(BaseSettings):
    """Everything that can be set; the defaults suit one machine."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, protected_namespaces=(), frozen=True, extra="ignore"
    )

    data_dir: Path = Field(
        default=Path("cacscore-data"), description="Folder of uploads, artefacts and SQLite record."
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="SQLAlchemy URL of the record; a SQLite file in data_dir when not set.",
    )
    broker_url: SecretStr | None = Field(
        default=None,
        description="Redis or Valkey: redis://host:6379/0, redis+socket:///path/to/socket.",
    )

    model_path: Path = Field(
        default=DEFAULT_MODEL_PATH, description="ONNX file of the network, with its ModelSpec."
    )
    onnx_providers: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("CPUExecutionProvider",),
        description="Execution providers of ONNX Runtime, comma-separated, the preferred first: "
        "the first that works is taken, no other than these.",
    )
    onnx_threads: int = Field(
        default=0, ge=0, description="Threads within one operator; 0 is one for each core."
    )

    protocol: ConventionName = Field(
        default="literature",
        description="Named convention of the reported score; a report has all others beside it.",
    )
    tube_voltage_table: TubeVoltageTableName = Field(
        default="constant_130",
        description="Named table of HU thresholds by tube voltage; by default 130 HU at each.",
    )
    mass_calibration_factor: PositiveFloat | None = Field(
        default=None,
        le=LARGEST_MASS_CALIBRATION_FACTOR,
        description="mg/(cm3 HU) of the mass score, from a calibration scan; no mass without it.",
    )

    upload_bytes: PositiveInt = Field(
        default=_ARCHIVE.archive_bytes, description="Largest body of POST /studies, in bytes."
    )
    upload_stall_s: PositiveFloat = Field(
        default=60.0, description="An upload that sends nothing for so long is given up."
    )
    upload_time_s: PositiveFloat = Field(
        default=600.0, description="An upload that takes longer as a whole is given up."
    )
    disk_reserve_bytes: int = Field(
        default=1024 * MIB,
        ge=0,
        description="With less free space in data_dir no upload is accepted.",
    )
    archive_total_bytes: PositiveInt = Field(
        default=_ARCHIVE.total_bytes, description="Largest sum of all unpacked files, in bytes."
    )
    archive_entry_bytes: PositiveInt = Field(
        default=_ARCHIVE.entry_bytes, description="Largest unpacked file, in bytes."
    )
    archive_multi_frame_entry_bytes: PositiveInt = Field(
        default=_ARCHIVE.multi_frame_entry_bytes,
        description="Largest unpacked Enhanced multi-frame file, in bytes.",
    )
    archive_entries: PositiveInt = Field(
        default=_ARCHIVE.entries, description="Most entries of an archive."
    )

    lease_s: PositiveFloat = Field(
        default=60.0, description="A worker that is silent for so long has lost its job."
    )
    heartbeat_s: PositiveFloat = Field(
        default=15.0, description="How often a worker says that it is alive."
    )
    max_attempts: PositiveInt = Field(
        default=3, description="How often a job is tried before it is given up."
    )
    retry_delay_s: PositiveFloat = Field(
        default=5.0, description="Pause before the second attempt; then four times as long."
    )
    task_time_limit_s: PositiveFloat = Field(
        default=900.0, description="After this long the process of an attempt is killed."
    )
    task_soft_time_limit_s: PositiveFloat = Field(
        default=840.0, description="After this long an attempt is given up in good order."
    )
    reaper_interval_s: PositiveFloat = Field(
        default=5.0, description="How often the gateway looks for jobs that nobody works on."
    )
    unattended_s: PositiveFloat = Field(
        default=120.0,
        description="/readyz fails when a study waits for so long while no worker does anything.",
    )

    webhook_urls: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Where callbacks may go: URLs, comma-separated; also all paths below each.",
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        description="Key of their signatures: whsec_ and the base64 of 24 to 64 random bytes.",
    )
    webhook_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        default=(),
        description="Networks (10.0.0.0/8, ...) they may reach although these are not public.",
    )

    worker_processes: PositiveInt = Field(
        default=1, description="Studies that a worker scores at once; one for each GPU."
    )
    s3_bucket: str | None = Field(
        default=None,
        description="Bucket of an S3-compatible store for artefacts; a folder in data_dir when "
        "not set.",
    )
    s3_prefix: str = Field(default="", description="Stands before every key in the bucket.")
    s3_endpoint_url: str | None = Field(
        default=None, description="URL of a store other than AWS, such as https://minio:9000."
    )
    s3_region: str | None = Field(default=None, description="Region; AWS_REGION when not set.")
    s3_access_key_id: SecretStr | None = Field(
        default=None, description="Access key; what AWS's own tools would find when not set."
    )
    s3_secret_access_key: SecretStr | None = Field(
        default=None, description="Secret of the access key."
    )

    worker_stop_s: PositiveFloat = Field(
        default=60.0,
        description="A worker that is told to stop lets its study finish for so long, then hands "
        "it back to the queue.",
    )
    worker_heartbeat_s: PositiveFloat = Field(
        default=10.0, description="How often a scoring process says that it is there."
    )
    worker_lost_s: PositiveFloat = Field(
        default=60.0, description="A scoring process that is silent for so long counts as lost."
    )
    uploads_at_once: PositiveInt = Field(
        default=64, description="Uploads that one gateway receives at the same time."
    )
    uploads_waiting: int = Field(
        default=256,
        ge=0,
        description="Further uploads that wait for a place; any beyond are answered 503.",
    )
    upload_wait_s: PositiveFloat = Field(
        default=10.0, description="An upload that waits for its place for longer is answered 503."
    )
    queue_length: PositiveInt = Field(
        default=10_000, description="With so many studies waiting no upload is accepted."
    )
    otlp_endpoint: str | None = Field(
        default=None,
        description="OpenTelemetry collector that traces are sent to, such as "
        "http://collector:4318; no traces without it.",
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="From which level on lines are logged."
    )

    auth: Literal["off", "required"] = Field(
        default="off",
        description="off: only this machine's own requests are answered. required: each request "
        "needs an API key (`cacscore keys`) or a bearer token.",
    )
    oidc_issuer: str | None = Field(
        default=None, description="Issuer whose bearer tokens are accepted, beside API keys."
    )
    oidc_audience: str | None = Field(
        default=None, description="What a token must have as audience; needed with an issuer."
    )
    oidc_jwks_url: str | None = Field(
        default=None, description="Where the issuer's keys are; found by discovery when not set."
    )
    oidc_algorithms: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("RS256", "ES256"),
        description="Signatures that are accepted, comma-separated; asymmetric ones only.",
    )
    oidc_leeway_s: float = Field(
        default=60.0, ge=0, le=600, description="How far the clocks may be apart."
    )
    oidc_tenant_claim: str | None = Field(
        default=None, description="Claim that names the tenant; without it all are of one tenant."
    )
    oidc_scope_claim: str = Field(default="scope", description="Claim that holds the scopes.")
    oidc_scope_prefix: str = Field(
        default="cacscore:", description="What stands before read, write and admin in that claim."
    )
    rate_limit_per_s: float = Field(
        default=50.0,
        ge=0,
        description="Requests a second of each key in the long run; 0: no limit.",
    )
    rate_limit_burst: PositiveInt = Field(
        default=200, description="Requests that each key may send at once after a pause."
    )
    retention_days: PositiveFloat | None = Field(
        default=None, description="Studies that have ended go after so many days; never if not set."
    )
    retention_free_percent: float = Field(
        default=0.0,
        ge=0,
        le=90,
        description="With less of the disk free, the oldest ended studies go; 0: never.",
    )
    uploads_at_once_per_key: PositiveInt = Field(
        default=4, description="Uploads that each key may have under way in one gateway."
    )

    webhook_attempts: int = Field(
        default=len(PAUSES) + 1,
        ge=1,
        le=len(PAUSES) + 1,
        description="A callback that failed so often is given up; all of them take three days.",
    )
    webhook_timeout_s: PositiveFloat = Field(
        default=10.0, le=60.0, description="For connecting to a receiver, and for its answer."
    )
    webhooks_at_once: int = Field(
        default=10, ge=1, le=100, description="Callbacks that a gateway takes on in one round."
    )
    key_dir: Path | None = Field(
        default=None,
        description="Folder of the signing key; data_dir when not set. Workers on several hosts "
        "that shall sign with one key share it.",
    )

    resumable_upload_hours: PositiveFloat = Field(
        default=24.0, description="A resumable upload goes when nothing happens to it for so long."
    )
    resumable_request_s: PositiveFloat = Field(
        default=3600.0,
        description="One request of a resumable upload is cut off after this; what has come stays.",
    )
    resumable_uploads_per_key: PositiveInt = Field(
        default=16, description="Unfinished resumable uploads that each key may have."
    )

    deidentify: bool = Field(
        default=False,
        description="Workers de-identify every upload before anything else and remove it; see "
        "docs/how-to/de-identify.md.",
    )
    deidentify_key: SecretStr | None = Field(
        default=None,
        description="Key of the pseudonyms and of the crosswalk: base64 of 32 random bytes or "
        "more (`cacscore crosswalk new-key`).",
    )
    deidentify_keeps_age_and_sex: bool = Field(
        default=True, description="Age and sex stay: percentiles and risks need them."
    )
    deidentify_dates: Literal["remove", "shift"] = Field(
        default="remove",
        description="shift: all dates of a patient are moved back by the same secret number of "
        "days, so that their distances stay.",
    )

    @field_validator("deidentify_key")
    @classmethod
    def _check_deidentify_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            key_bytes(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _check_deidentify(self) -> Self:
        if self.deidentify and self.deidentify_key is None:
            raise ValueError(
                "CACSCORE_DEIDENTIFY needs CACSCORE_DEIDENTIFY_KEY; `cacscore crosswalk new-key` "
                "makes one."
            )
        return self

    destinations_file: Path | None = Field(
        default=None,
        description="YAML file of the destinations that results are pushed to; none without it.",
    )
    push_interval_s: PositiveFloat = Field(
        default=2.0, description="How often a worker looks for results that are to be pushed."
    )

    rules_file: Path | None = Field(
        default=None,
        description="YAML file with the rules which series are scored; those that `cacscore rules "
        "default` prints when not set.",
    )
    dicom_ae_title: str = Field(
        default="CACSCORE",
        pattern=r"^[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?$",
        description="AE title of the DICOM node; peers must call it by this.",
    )
    dicom_host: str = Field(
        default="127.0.0.1",
        description="Address that the DICOM node listens on; one that others reach needs a list "
        "of peers or AE titles, or certificates of clients.",
    )
    dicom_port: int = Field(
        default=11112, ge=0, le=65535, description="Port of the DICOM node; 0: any that is free."
    )
    dicom_calling_ae_titles: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="AE titles that may send, comma-separated; all when not set."
    )
    dicom_peers: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        default=(),
        description="Addresses or networks (10.0.0.0/8, ...) that may send, comma-separated; all "
        "when not set.",
    )
    dicom_quiet_s: PositiveFloat = Field(
        default=30.0, description="A study is complete when nothing of it came for so long."
    )
    dicom_ends_with_association: bool = Field(
        default=False,
        description="A study is complete as soon as the associations that sent it are released.",
    )
    dicom_associations: PositiveInt = Field(
        default=10, description="Associations that the DICOM node has at the same time."
    )
    dicom_idle_s: PositiveFloat = Field(
        default=60.0, description="An association on which nothing comes for so long is aborted."
    )
    dicom_study_bytes: PositiveInt = Field(
        default=8192 * MIB, description="Largest study that the DICOM node takes, before the rules."
    )
    dicom_study_instances: PositiveInt = Field(
        default=20_000, description="Most instances of such a study."
    )
    dicom_tenant: str = Field(
        default=DEFAULT_TENANT,
        pattern=f"^{TENANT_PATTERN}$",
        description="Whose studies they are that no rule gives to somebody else.",
    )
    dicom_incoming_dir: Path | None = Field(
        default=None,
        description="Folder of studies that are still arriving; `incoming` in data_dir when not "
        "set. Each node needs one of its own.",
    )
    dicom_tls_certificate: Path | None = Field(
        default=None, description="Certificate (PEM) of the DICOM node; with it TLS is required."
    )
    dicom_tls_key: Path | None = Field(
        default=None, description="Private key (PEM) of that certificate."
    )
    dicom_tls_client_ca: Path | None = Field(
        default=None,
        description="Certificates (PEM) of the authorities that senders' certificates must be of.",
    )

    @field_validator("dicom_calling_ae_titles", "dicom_peers", mode="before")
    @classmethod
    def _split_senders(cls, value: object) -> object:
        return cls._split_providers(value)

    @model_validator(mode="after")
    def _check_dicom_tls(self) -> Self:
        if (self.dicom_tls_certificate is None) != (self.dicom_tls_key is None):
            raise ValueError(
                "CACSCORE_DICOM_TLS_CERTIFICATE and CACSCORE_DICOM_TLS_KEY belong together: set "
                "both, or none of them."
            )
        if self.dicom_tls_client_ca is not None and self.dicom_tls_certificate is None:
            raise ValueError(
                "CACSCORE_DICOM_TLS_CLIENT_CA needs CACSCORE_DICOM_TLS_CERTIFICATE: without TLS "
                "nobody shows a certificate."
            )
        return self

    @field_validator("oidc_issuer", "oidc_jwks_url")
    @classmethod
    def _check_oidc_url(cls, value: str | None) -> str | None:
        if value is None or value.startswith("https://"):
            return value
        if re.match(r"http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/|$)", value):
            return value
        raise ValueError("must begin with https://; http:// is taken of this machine only.")

    @field_validator("oidc_algorithms", mode="before")
    @classmethod
    def _split_algorithms(cls, value: object) -> object:
        return cls._split_providers(value)

    @field_validator("oidc_algorithms")
    @classmethod
    def _check_algorithms(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or set(value) - ASYMMETRIC_ALGORITHMS:
            raise ValueError(f"must be some of {', '.join(sorted(ASYMMETRIC_ALGORITHMS))}.")
        return value

    @model_validator(mode="after")
    def _check_oidc(self) -> Self:
        if self.oidc_issuer is not None and self.oidc_audience is None:
            raise ValueError(
                "CACSCORE_OIDC_ISSUER needs CACSCORE_OIDC_AUDIENCE: a token made for another "
                "service must not open this one."
            )
        return self

    @field_validator("onnx_providers", mode="before")
    @classmethod
    def _split_providers(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(name.strip() for name in value.split(",") if name.strip())

    @field_validator("webhook_urls", "webhook_networks", mode="before")
    @classmethod
    def _split_lists(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(one.strip() for one in value.split(",") if one.strip())

    @field_validator("webhook_urls")
    @classmethod
    def _check_webhook_urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_allowed_urls(value)
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _check_webhook_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            secret_bytes(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        if (self.s3_access_key_id is None) != (self.s3_secret_access_key is None):
            raise ValueError(
                "CACSCORE_S3_ACCESS_KEY_ID and CACSCORE_S3_SECRET_ACCESS_KEY belong together: set "
                "both, or none of them."
            )
        return self

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        if self.heartbeat_s * 2 > self.lease_s:
            raise ValueError(
                f"CACSCORE_LEASE_S ({self.lease_s:g}) must be at least twice CACSCORE_HEARTBEAT_S "
                f"({self.heartbeat_s:g}), or one late heartbeat loses a job."
            )
        if self.worker_heartbeat_s * 2 > self.worker_lost_s:
            raise ValueError(
                f"CACSCORE_WORKER_LOST_S ({self.worker_lost_s:g}) must be at least twice "
                f"CACSCORE_WORKER_HEARTBEAT_S ({self.worker_heartbeat_s:g}), or one late "
                "heartbeat loses a worker."
            )
        if self.task_soft_time_limit_s >= self.task_time_limit_s:
            raise ValueError(
                f"CACSCORE_TASK_SOFT_TIME_LIMIT_S ({self.task_soft_time_limit_s:g}) must be "
                f"shorter than CACSCORE_TASK_TIME_LIMIT_S ({self.task_time_limit_s:g})."
            )
        return self

    @property
    def scoring_protocol(self) -> ScoringProtocol:
        """The convention of the reported score, with the chosen tube voltage table."""
        return replace(CONVENTIONS[self.protocol], tube_voltage_table=self.tube_voltage_table)

    @property
    def record_url(self) -> str:
        """URL of the record, with its default filled in."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir.absolute() / 'cacscore.sqlite3'}"

    @property
    def s3_location(self) -> S3Location | None:
        """The bucket of artefacts; None where they are in a folder."""
        if self.s3_bucket is None:
            return None
        key, secret = self.s3_access_key_id, self.s3_secret_access_key
        return S3Location(
            bucket=self.s3_bucket,
            prefix=self.s3_prefix,
            endpoint_url=self.s3_endpoint_url,
            region=self.s3_region,
            access_key_id=None if key is None else key.get_secret_value(),
            secret_access_key=None if secret is None else secret.get_secret_value(),
        )

    @property
    def lease_terms(self) -> LeaseTerms:
        """How long a worker may be silent, and how often a job is tried."""
        return LeaseTerms(
            duration=timedelta(seconds=self.lease_s),
            heartbeat_interval=timedelta(seconds=self.heartbeat_s),
            max_attempts=self.max_attempts,
            retry_delay=timedelta(seconds=self.retry_delay_s),
        )

    @property
    def webhook_policy(self) -> WebhookPolicy:
        """Where callbacks may go and how they are signed."""
        secret = self.webhook_secret
        return WebhookPolicy(
            self.webhook_urls, None if secret is None else secret.get_secret_value()
        )

    @property
    def delivery_limits(self) -> DeliveryLimits:
        """How often and how patiently callbacks are tried."""
        return DeliveryLimits(
            attempts=self.webhook_attempts,
            timeout_s=self.webhook_timeout_s,
            at_once=self.webhooks_at_once,
        )

    @property
    def signing_key_path(self) -> Path:
        """File of the key that signs records of origin."""
        return (self.key_dir or self.data_dir) / KEY_FILE

    @property
    def archive_limits(self) -> ArchiveLimits:
        """What an uploaded archive may ask for."""
        return ArchiveLimits(
            archive_bytes=self.upload_bytes,
            total_bytes=self.archive_total_bytes,
            entry_bytes=self.archive_entry_bytes,
            multi_frame_entry_bytes=self.archive_multi_frame_entry_bytes,
            entries=self.archive_entries,
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - given by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the environment first, then the files of ``CACSCORE_SECRETS_DIR``, if it is set."""
        folder = os.environ.get(SECRETS_DIR_VARIABLE)
        if not folder:
            return init_settings, env_settings
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, secrets_dir=folder)
