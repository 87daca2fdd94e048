"""Key images: the slices that show most of the result, each beside a table of the scores.

Everything is burnt in, so that the picture says what it is wherever it goes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from calcium_scoring.rendering.overlay import COLOR_OF_LABEL, Rgb, render_overlay
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import Artery, LabelMap

MOST_KEY_IMAGES: Final = 4
"""One for each artery. Our choice."""

_PANEL_PX: Final = 372
_MARGIN_PX: Final = 22
_BACKGROUND: Final[Rgb] = (24, 24, 26)
_RULE: Final[Rgb] = (72, 72, 76)
_TEXT: Final[Rgb] = (235, 235, 235)
_FAINT: Final[Rgb] = (162, 162, 168)
_NOTICE: Final[Rgb] = (255, 159, 10)


def key_slice_indices(document: Mapping[str, Any], slice_count: int) -> tuple[int, ...]:
    """Return the slices to show: where each artery scores most, then where each lesion does.

    ``document`` is the report as JSON values. At most :data:`MOST_KEY_IMAGES`, the highest score
    first. Where nothing was found, three slices of the scan, a quarter of it apart.
    """
    of_artery: defaultdict[str, defaultdict[int, float]] = defaultdict(lambda: defaultdict(float))
    best_of_lesion: dict[int, float] = {}
    for lesion in document["lesions"]:
        for part in lesion["slices"]:
            of_artery[lesion["artery"] or ""][part["slice_index"]] += part["agatston_score"]
        best = max(lesion["slices"], key=lambda part: part["agatston_score"])
        best_of_lesion.setdefault(best["slice_index"], lesion["agatston_score"])
    best_of_artery = dict(
        max(slices.items(), key=lambda one: (one[1], -one[0])) for slices in of_artery.values()
    )
    ranked = [
        index
        for scores in (best_of_artery, best_of_lesion)
        for index, _ in sorted(scores.items(), key=lambda one: (-one[1], one[0]))
    ]
    quarters = (slice_count // 4, slice_count // 2, 3 * slice_count // 4)
    return tuple(dict.fromkeys(ranked or quarters))[:MOST_KEY_IMAGES]


def render_key_image(
    volume: CtVolume, label_map: LabelMap, slice_index: int, document: Mapping[str, Any]
) -> NDArray[np.uint8]:
    """Return a slice with its calcium outlined beside the scores: (row, column, RGB)."""
    picture = render_overlay(volume, label_map, slice_index)
    page = Image.new("RGB", (picture.width + _PANEL_PX, picture.height), _BACKGROUND)
    page.paste(picture, (0, 0))
    _Panel(page, picture.width + _MARGIN_PX).draw(document)
    return np.asarray(page, dtype=np.uint8)


class _Panel:
    """Writes lines downwards, at the right of a picture."""

    def __init__(self, page: Image.Image, left: int) -> None:
        self._draw = ImageDraw.Draw(page)
        self._left = left
        self._right = page.width - _MARGIN_PX
        self._top = _MARGIN_PX
        self._bottom = page.height - _MARGIN_PX

    def draw(self, document: Mapping[str, Any]) -> None:
        """Write the scores of a report."""
        self._line("Coronary calcium", 18, _FAINT, gap=6)
        self._line(f"{document['agatston_score']:.1f}", 54, _TEXT, gap=2)
        self._line("Agatston score", 16, _FAINT, gap=12)
        cac_drs = document["categories"]["cac_drs"]["value"] or document["cac_drs_category"]
        self._line(f"CAC-DRS {cac_drs}", 22, _TEXT, gap=4)
        self._line(f"Category {document['risk_category']}", 18, _TEXT, gap=4)
        if not document["category_stable"]:
            self._line("Category depends on the convention", 15, _NOTICE, gap=4)
        hoff = document["categories"]["hoff_percentile"]
        if hoff["value"] is not None:
            self._line(f"Percentile {hoff['value']}: {hoff['reference_group']}", 15, _TEXT, gap=2)
        self._rule()
        self._table(document)
        self._rule()
        for words in self._facts(document):
            self._line(words, 14, _FAINT, gap=3)
        self._foot(document)

    @staticmethod
    def _facts(document: Mapping[str, Any]) -> list[str]:
        model, warnings = document["model"], document["warnings"]
        facts = [
            f"Protocol {document['protocol']['name']}, {document['protocol']['threshold_hu']:g} HU",
            "Mask drawn by a reader"
            if model is None
            else f"{model['name']} {model['version']}"
            + (" (provisional)" if model["is_provisional"] else ""),
            f"cacscore {document['service_version']}",
        ]
        if warnings:
            facts.append(f"{len(warnings)} warning{'s' * (len(warnings) > 1)}, see the report:")
            facts += [f"  {warning['code']}" for warning in warnings[:4]]
            if len(warnings) > 4:
                facts.append("  ...")
        return facts

    def _table(self, document: Mapping[str, Any]) -> None:
        columns = (self._left, self._right - 132, self._right - 46, self._right)
        self._row(columns, ("", "Agatston", "mm3", "n"), _FAINT)
        arteries = {
            name: scores for name, scores in document["arteries"].items() if scores is not None
        }
        for name, scores in arteries.items():
            self._row(columns, (name, *_cells(scores)), COLOR_OF_LABEL[Artery[name]])
        self._row(columns, ("Total", *_cells(document)), _TEXT)
        if not arteries:
            self._line("The mask does not tell arteries apart.", 14, _FAINT, gap=2)

    def _row(self, columns: tuple[int, ...], cells: tuple[str, ...], color: Rgb) -> None:
        for index, (x, words) in enumerate(zip(columns, cells, strict=True)):
            self._draw.text(
                (x, self._top),
                words,
                font=_font(17),
                fill=color,
                anchor="la" if not index else "ra",
            )
        self._top += 27

    def _foot(self, document: Mapping[str, Any]) -> None:
        lines = _wrapped(document["intended_use"], _font(15), self._right - self._left)
        top = self._bottom - 21 * len(lines)
        for line in lines:
            self._draw.text((self._left, top), line, font=_font(15), fill=_NOTICE)
            top += 21

    def _line(self, words: str, size_px: int, color: Rgb, *, gap: int) -> None:
        for line in _wrapped(words, _font(size_px), self._right - self._left):
            self._draw.text((self._left, self._top), line, font=_font(size_px), fill=color)
            self._top += round(size_px * 1.25)
        self._top += gap

    def _rule(self) -> None:
        self._top += 8
        self._draw.line((self._left, self._top, self._right, self._top), fill=_RULE)
        self._top += 12


def _cells(scores: Mapping[str, Any]) -> tuple[str, str, str]:
    return (
        f"{scores['agatston_score']:.1f}",
        f"{scores['volume_score_mm3']:.0f}",
        str(scores["lesion_count"]),
    )


def _wrapped(
    words: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int
) -> list[str]:
    lines = [""]
    for word in words.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and font.getlength(longer) > width_px:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)
