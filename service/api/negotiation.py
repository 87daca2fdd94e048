"""Content negotiation (RFC 9110, 12.5.1) over a few media types."""

from __future__ import annotations

from collections.abc import Sequence


def preferred_type(accept: str, available: Sequence[str]) -> str | None:
    """Return the available type that is wanted most, the first of equals; None for none."""
    wishes = [_parse(part) for part in accept.split(",") if part.strip()]
    best, best_quality = None, 0.0
    for media_type in available:
        quality = _quality(media_type, wishes)
        if quality > best_quality:
            best, best_quality = media_type, quality
    return best


def _parse(wish: str) -> tuple[str, float]:
    media_range, *parameters = [part.strip().lower() for part in wish.split(";")]
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media_range, min(max(float(value), 0.0), 1.0)
            except ValueError:
                return media_range, 0.0
    return media_range, 1.0


def _quality(media_type: str, wishes: Sequence[tuple[str, float]]) -> float:
    """Return the quality of the most specific range that covers the type, 0 where none does."""
    family = media_type.split("/", maxsplit=1)[0]
    for media_range in (media_type, f"{family}/*", "*/*"):
        qualities = [quality for wished, quality in wishes if wished == media_range]
        if qualities:
            return max(qualities)
    return 0.0
