"""What the gateway refuses in a request before any use case sees it."""

from __future__ import annotations

from calcium_scoring.errors import CacscoreError, UploadRejected


class UnsupportedMediaType(UploadRejected):
    """The body is neither a multipart form nor a zip."""

    code = "unsupported_media_type"
    title = "The body has a type that is not accepted"


class MalformedForm(UploadRejected):
    """The multipart body is cut short, contradicts itself, or has not exactly one file."""

    code = "malformed_form"
    title = "The form cannot be read"


class UploadTimedOut(UploadRejected):
    """The upload stalled or took too long."""

    code = "upload_timed_out"
    title = "The upload took too long"


class NotAcceptable(CacscoreError):
    """The mask exists, but in none of the types that the request accepts."""

    code = "not_acceptable"
    title = "The mask is not available in an accepted type"
