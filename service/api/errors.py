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


class MalformedUploadRequest(CacscoreError):
    """A header of the tus protocol is missing or has no meaning here."""

    code = "malformed_upload_request"
    title = "A header of the upload is missing or not understood"


class TusVersionNotSupported(CacscoreError):
    """The request speaks another version of the tus protocol, or does not say which."""

    code = "tus_version_not_supported"
    title = "This version of the tus protocol is not spoken"


class UploadOffsetMismatch(CacscoreError):
    """The request continues elsewhere than where the upload ends."""

    code = "upload_offset_mismatch"
    title = "The upload ends elsewhere"


class ChecksumMismatch(CacscoreError):
    """The bytes of a request are not those that its checksum is of."""

    code = "checksum_mismatch"
    title = "The checksum does not fit the bytes"


class NotAcceptable(CacscoreError):
    """The mask exists, but in none of the types that the request accepts."""

    code = "not_acceptable"
    title = "The mask is not available in an accepted type"
