"""The bucket of artefacts, made where the object store has none of its name."""

from __future__ import annotations

from service.application.errors import ProvisioningRefused
from service.settings import Settings


def provide_bucket(settings: Settings) -> bool:
    """Make the bucket of the settings; False where it is there already.

    Raises
    ------
    ProvisioningRefused
        The settings name no bucket.
    ArtefactUnavailable
        The object store does not answer, or lets us neither see nor make it.
    """
    location = settings.s3_location
    if location is None:
        raise ProvisioningRefused("The settings name no bucket: set CACSCORE_S3_BUCKET.")
    # Only where it is used: the package is the extra s3.
    from service.adapters.storage.s3_store import make_bucket  # noqa: PLC0415

    return make_bucket(location)
