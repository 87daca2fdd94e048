"""The report as one printed page (PDF, A4): what a cardiologist asks, in the order of asking.

Score and category; how sure; which artery; how it compares with people of the same age and sex;
whether another convention would say otherwise; where the calcium is, as pictures and as a list;
what to be careful about; what made all this. It shows age and sex but neither name nor number of
the patient: the DICOM object around it says whose it is.

The same report drawn again is the same file, byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from reportlab import rl_config
from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from calcium_scoring.rendering.overlay import render_overlay
from calcium_scoring.scoring.percentiles import HOFF_TABLE, PERCENTILES
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import LabelMap
from calcium_scoring.volume.patient import Sex

# Pictures as bytes, not as text: a third of the time and four fifths of the size.
rl_config.useA85 = 0

MOST_LESIONS: Final = 12
FEWEST_LESIONS: Final = 4
MOST_PICTURES: Final = 3
"""What fits on one page; the others are counted, and stand in the JSON report and in the SR."""

_MARGIN: Final = 36.0
_GUTTER: Final = 20.0
_FOOT_LINE: Final = 8.6
_FOOT_TOP: Final = 86.0
"""Above this height, in points, nothing of the foot is printed."""

_INK: Final = HexColor("#1c1c1e")
_FAINT: Final = HexColor("#6e6e73")
_LINE: Final = HexColor("#d1d1d6")
_BAND: Final = HexColor("#f2f2f7")
_ACCENT: Final = HexColor("#0a4d8c")
_NOTICE: Final = HexColor("#a84300")
_COLOR_OF_ARTERY: Final = {
    "LM": HexColor("#b58900"),
    "LAD": HexColor("#d70015"),
    "LCX": HexColor("#248a3d"),
    "RCA": HexColor("#0040dd"),
}
_PLAIN: Final = "Helvetica"
_BOLD: Final = "Helvetica-Bold"

_HOFF_AXIS: Final = (
    "<40", "40-44", "45-49", "50-54", "55-59", "60-64", "65-69", "70-74", ">74",
)  # fmt: skip
"""The age groups of Hoff's table."""

_WORDS_OF_BAND: Final = {
    "0-25": "below the 25th percentile",
    "25-50": "between the 25th and 50th percentile",
    "50-75": "between the 50th and 75th percentile",
    "75-90": "between the 75th and 90th percentile",
    "90-100": "above the 90th percentile",
}

_HOFF_BEGINS: Final = (40, 45, 50, 55, 60, 65, 70, 75)
_SOURCES: Final = (
    "Percentiles: Hoff et al., Am J Cardiol 2001;87:1335; MESA: McClelland et al., Circulation "
    "2006;113:30. Score: Agatston et al., J Am Coll Cardiol 1990;15:827."
)
_SCORE_TICKS: Final = (0, 10, 100, 400, 1000, 2000)


def render_report_page(
    document: Mapping[str, Any],
    volume: CtVolume,
    label_map: LabelMap,
    slice_indices: Sequence[int],
    *,
    study_date: str | None = None,
) -> bytes:
    """Return the page as PDF.

    Parameters
    ----------
    document
        The report as JSON values (schema version 3).
    volume, label_map
        For the pictures; the slices of ``slice_indices`` are shown, the first ones that fit.
    study_date
        As DICOM has it (YYYYMMDD), or None where it is not known.
    """
    content = BytesIO()
    # Invariant: neither the clock nor a random number goes into the file.
    canvas = Canvas(content, pagesize=A4, invariant=1, pageCompression=1)
    canvas.setTitle("Coronary calcium report")
    canvas.setAuthor(f"cacscore {document['service_version']}")
    canvas.setSubject(document["intended_use"])
    page = _Page(canvas)
    page.heading(document, study_date)
    page.score(document)
    page.comparison(document)
    page.pictures(volume, label_map, slice_indices[:MOST_PICTURES])
    page.lesions(document)
    page.warnings(document)
    page.provenance(document)
    canvas.showPage()
    canvas.save()
    return content.getvalue()


class _Page:
    """Draws block after block downwards; ``_y`` is where the next one begins, in points."""

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas
        self._left = _MARGIN
        self._right = A4[0] - _MARGIN
        self._y = A4[1] - _MARGIN

    def heading(self, document: Mapping[str, Any], study_date: str | None) -> None:
        """Name the report, the scan and the patient's age and sex."""
        self._text((self._left, self._y - 13), "Coronary calcium report", _BOLD, 17, _ACCENT)
        self._text(
            (self._right, self._y - 8), document["intended_use"], _BOLD, 7.5, _NOTICE, align="right"
        )
        patient = document["categories"]["patient"]
        series = document["series"]
        age = "age not known" if patient["age_years"] is None else f"{patient['age_years']} years"
        facts = [
            f"Patient: {age}, {patient['sex'] or 'sex not known'}",
            f"Scan: {_date(study_date)}",
            _printable(series["series_description"], "Series without description"),
            f"{series['slice_count']} slices every {series['spacing_between_slices_mm']:.2f} mm",
            "kV not known" if series["kvp"] is None else f"{series['kvp']:g} kV",
            {True: "ECG-gated", False: "not ECG-gated", None: "gating not known"}[
                series["is_ecg_gated"]
            ],
        ]
        self._y -= 28
        for line in self._joined(facts, "   |   ", 8, self._right - self._left):
            self._text((self._left, self._y), line, _PLAIN, 8, _INK)
            self._y -= 10
        self._y += 3
        self._rule()

    def score(self, document: Mapping[str, Any]) -> None:
        """Show score and category at the left, arteries at the right."""
        top, middle = self._y, self._left + 250
        self._text((self._left, top - 44), f"{document['agatston_score']:.1f}", _BOLD, 46, _INK)
        width = stringWidth(f"{document['agatston_score']:.1f}", _BOLD, 46)
        self._text((self._left + width + 8, top - 44), "Agatston", _PLAIN, 11, _FAINT)
        cac_drs = document["categories"]["cac_drs"]["value"] or document["cac_drs_category"]
        self._text(
            (self._left, top - 64),
            f"Category {document['risk_category']}   CAC-DRS {cac_drs}",
            _BOLD,
            12,
            _INK,
        )
        categories = document["categories"]
        lines = [
            _percentile("Hoff", categories["hoff_percentile"]),
            *(
                [_percentile("MESA", categories["mesa_percentile"])]
                if categories["patient"]["race_or_ethnicity"] is not None
                else []
            ),
            f"Arterial age {categories['arterial_age_years']['value']:.0f} years",
            _repeat_scan(document["uncertainty"]),
        ]
        y = top - 78
        for line in lines:
            for part in self._wrapped(line, 8, middle - self._left - 10)[:2]:
                self._text((self._left, y), part, _PLAIN, 8, _INK)
                y -= 10
        self._arteries(document, middle, top)
        self._y = min(y, top - 104) - 2
        self._rule()

    def _arteries(self, document: Mapping[str, Any], left: float, top: float) -> None:
        mass = document["mass_score_mg"] is not None
        headings = ["Artery", "Agatston", "Volume mm³", *(["Mass mg"] if mass else []), "Lesions"]
        rows: list[tuple[Color, list[str]]] = []
        for name, scores in document["arteries"].items():
            if scores is not None:
                rows.append((_COLOR_OF_ARTERY[name], [name, *_cells(scores, mass=mass)]))
        rows.append((_INK, ["All", *_cells(document, mass=mass)]))
        y = self._table(left, top - 8, self._right, headings, rows, bold_last=True)
        if len(rows) == 1:
            self._text((left, y), "The mask does not tell arteries apart.", _PLAIN, 8, _FAINT)

    def comparison(self, document: Mapping[str, Any]) -> None:
        """Show percentiles of the patient's sex by age, and the score under other conventions."""
        top, height, middle = self._y, 116.0, self._left + 270
        self._title(self._left, top, "Among people of the same sex (Hoff 2001)")
        self._title(
            middle,
            top,
            "Under other conventions: "
            + ("the same category" if document["category_stable"] else "another category"),
        )
        self._percentile_curves(document, self._left + 26, top - height, middle - _GUTTER - 26)
        headings = ["Convention", "Agatston", "Category", "CAC-DRS"]
        rows = [
            (
                _INK if one["category_stable"] else _NOTICE,
                [
                    one["name"],
                    f"{one['agatston_score']:.1f}",
                    one["risk_category"],
                    one["cac_drs_category"],
                ],
            )
            for one in document["conventions"]
        ]
        protocol = document["protocol"]
        reported = [
            f"{protocol['name']} (reported)",
            f"{document['agatston_score']:.1f}",
            document["risk_category"],
            document["cac_drs_category"],
        ]
        self._table(
            middle, top - 20, self._right, headings, [*rows, (_INK, reported)], bold_last=True
        )
        self._y = top - height - 24
        self._rule()

    def _percentile_curves(
        self, document: Mapping[str, Any], left: float, bottom: float, right: float
    ) -> None:
        patient = document["categories"]["patient"]
        if patient["sex"] is None:
            self._text((left, bottom + 70), "Sex not known: no curve.", _PLAIN, 8, _FAINT)
            return
        canvas, height = self._canvas, 84.0
        top_score = max(2000.0, document["agatston_score"])

        def y_of(score: float) -> float:
            return bottom + height * math.log1p(score) / math.log1p(top_score)

        def x_of(group: float) -> float:
            return left + (right - left) * group / (len(_HOFF_AXIS) - 1)

        for tick in _SCORE_TICKS:
            canvas.setStrokeColor(_LINE)
            canvas.setLineWidth(0.4)
            canvas.line(left, y_of(tick), right, y_of(tick))
            self._text((left - 4, y_of(tick) - 2), str(tick), _PLAIN, 6, _FAINT, align="right")
        for group, words in enumerate(_HOFF_AXIS):
            self._text((x_of(group), bottom - 9), words, _PLAIN, 6, _FAINT, align="middle")
        self._text(
            ((left + right) / 2, bottom - 17), "age (years)", _PLAIN, 6, _FAINT, align="middle"
        )
        table = HOFF_TABLE[Sex(patient["sex"])]
        for index, percentile in enumerate(PERCENTILES):
            path = canvas.beginPath()
            for group, scores in enumerate(table):
                point = x_of(group), y_of(scores[index])
                path.lineTo(*point) if group else path.moveTo(*point)
            canvas.setStrokeColor(_ACCENT)
            canvas.setLineWidth(0.6 + 0.3 * index)
            canvas.drawPath(path)
            self._text(
                (right + 3, y_of(table[-1][index]) - 2), f"{percentile}th", _PLAIN, 6, _ACCENT
            )
        if patient["age_years"] is None:
            self._text(
                (left + 6, bottom + height - 6), "Age not known: no point.", _PLAIN, 7, _NOTICE
            )
            return
        group = sum(patient["age_years"] >= begin for begin in _HOFF_BEGINS)
        x, y = x_of(group), y_of(document["agatston_score"])
        canvas.setFillColor(_NOTICE)
        canvas.setStrokeColor(HexColor("#ffffff"))
        canvas.circle(x, y, 3.6, stroke=1, fill=1)
        side = "right" if group > len(_HOFF_AXIS) // 2 else "left"
        shift = -6 if side == "right" else 6
        # On white, so that no curve runs through the words.
        width = stringWidth("this scan", _BOLD, 7)
        canvas.setFillColor(HexColor("#ffffff"))
        canvas.rect(
            x + shift - (width if side == "right" else 0), y + 2, width, 9, stroke=0, fill=1
        )
        self._text((x + shift, y + 4), "this scan", _BOLD, 7, _NOTICE, align=side)

    def pictures(self, volume: CtVolume, label_map: LabelMap, slice_indices: Sequence[int]) -> None:
        """Show slices side by side."""
        space = 8.0
        width = (self._right - self._left - space * (MOST_PICTURES - 1)) / MOST_PICTURES
        self._title(
            self._left,
            self._y,
            "Where the calcium is"
            if label_map.labels.any()
            else "Slices of the scan; no calcium was found",
        )
        height = 0.0
        for place, index in enumerate(slice_indices):
            picture = render_overlay(volume, label_map, index)
            height = max(height, width * picture.height / picture.width)
            self._canvas.drawImage(
                ImageReader(_small(picture)),
                self._left + place * (width + space),
                self._y - 12 - width * picture.height / picture.width,
                width,
                width * picture.height / picture.width,
            )
        self._y -= height + 20

    def lesions(self, document: Mapping[str, Any]) -> None:
        """List the lesions with the highest score, in two columns."""
        lesions = sorted(document["lesions"], key=lambda one: (-one["agatston_score"], one["id"]))
        if not lesions:
            return
        count = self._lesions_that_fit(document)
        shown, hidden = lesions[:count], lesions[count:]
        more = f", the {len(shown)} largest" if hidden else ""
        self._title(self._left, self._y, f"Lesions ({len(lesions)}{more})")
        headings = ["No.", "Artery", "Slices", "mm³", "peak HU", "Agatston"]
        rows = [
            (
                _COLOR_OF_ARTERY.get(one["artery"] or "", _INK),
                [
                    str(one["id"]),
                    one["artery"] or "not known",
                    _slices(one),
                    f"{one['volume_score_mm3']:.1f}",
                    f"{one['peak_hu']:.0f}",
                    f"{one['agatston_score']:.1f}",
                ],
            )
            for one in shown
        ]
        half = (len(rows) + 1) // 2
        middle = (self._left + self._right) / 2
        top = self._y - 20
        bottoms = [self._table(self._left, top, middle - _GUTTER / 2, headings, rows[:half])]
        if rows[half:]:
            bottoms.append(
                self._table(middle + _GUTTER / 2, top, self._right, headings, rows[half:])
            )
        self._y = min(bottoms)
        if hidden:
            rest = sum(one["agatston_score"] for one in hidden)
            self._text(
                (self._left, self._y),
                f"and {len(hidden)} more with a score of {rest:.1f} together: JSON report and SR",
                _PLAIN,
                7.5,
                _FAINT,
            )
            self._y -= 10
        self._y -= 2

    def _lesions_that_fit(self, document: Mapping[str, Any]) -> int:
        """Return how many lesions leave room for the warnings."""
        lines = sum(len(self._warning_lines(warning)) for warning in document["warnings"])
        rows = int((self._y - 50 - _FOOT_TOP - 18 - 9 * lines) // 11)
        return min(max(2 * rows, FEWEST_LESIONS), MOST_LESIONS)

    def _warning_lines(self, warning: Mapping[str, Any]) -> list[str]:
        words = f"{_printable(warning['message'], warning['code'])} ({warning['code']})"
        return self._wrapped(words, 7.5, self._right - self._left - 8)

    def warnings(self, document: Mapping[str, Any]) -> None:
        """Say what a reader should know although it was scored."""
        warnings = document["warnings"]
        if not warnings:
            return
        self._title(self._left, self._y, "Warnings", _NOTICE)
        self._y -= 18
        for place, warning in enumerate(warnings):
            lines = self._warning_lines(warning)
            is_last = place == len(warnings) - 1
            if self._y - 9 * (len(lines) + (not is_last)) < _FOOT_TOP:
                self._text(
                    (self._left + 8, self._y),
                    f"and {len(warnings) - place} more: JSON report and SR",
                    _BOLD,
                    7.5,
                    _NOTICE,
                )
                break
            self._text((self._left, self._y), "-", _PLAIN, 7.5, _NOTICE)
            for line in lines:
                self._text((self._left + 8, self._y), line, _PLAIN, 7.5, _INK)
                self._y -= 9

    def provenance(self, document: Mapping[str, Any]) -> None:
        """Say at the foot what made the report, and under which rules."""
        model, protocol, series = document["model"], document["protocol"], document["series"]
        who = (
            "Mask: drawn by a reader"
            if model is None
            else f"Network: {model['name']} {model['version']}"
            + (" (provisional)" if model["is_provisional"] else "")
            + f", sha256 {model['sha256']}"
        )
        table = protocol["tube_voltage_table"]
        versions = f"cacscore {document['service_version']}, schema {document['schema_version']}"
        lines = [
            f"Rules: {protocol['name']}, {_rules(protocol)}, tube voltage table {table}",
            f"{who}; {versions}",
            f"Study {series['study_instance_uid'] or 'without UID'}",
            f"Series {series['series_instance_uid'] or 'without UID'}",
            _SOURCES,
        ]
        canvas = self._canvas
        canvas.setFillColor(_BAND)
        canvas.rect(0, 0, A4[0], _FOOT_TOP - 6, stroke=0, fill=1)
        y = _FOOT_TOP - 18
        for line in lines:
            self._text((self._left, y), line, _PLAIN, 6.8, _FAINT)
            y -= _FOOT_LINE
        self._text((self._left, y - 2), document["intended_use"], _BOLD, 8, _NOTICE)

    def _title(self, left: float, top: float, words: str, color: Color = _ACCENT) -> None:
        self._text((left, top - 8), words, _BOLD, 9, color)

    def _table(
        self,
        left: float,
        top: float,
        right: float,
        headings: Sequence[str],
        rows: Sequence[tuple[Color, Sequence[str]]],
        *,
        bold_last: bool = False,
    ) -> float:
        """Draw a table and return where it ends; the first column is wide and left-aligned."""
        canvas = self._canvas
        names = 1 + sum(heading in {"Artery", "Slices"} for heading in headings[1:])
        widths = [
            max(stringWidth(cell, _BOLD, 8) for cell in column) + 6
            for column in zip(headings, *(cells for _, cells in rows), strict=True)
        ]
        spare = max(0.0, right - left - sum(widths)) / len(widths)
        edges, x = [], left
        for width in widths:
            edges.append((x, x + width + spare))
            x += width + spare

        def line(y: float, cells: Sequence[str], font: str, color: Color, size: float) -> None:
            for place, ((begin, end), cell) in enumerate(zip(edges, cells, strict=True)):
                if place < names:
                    self._text((begin, y), cell, font, size, color)
                else:
                    self._text((end, y), cell, font, size, color, align="right")

        line(top, headings, _PLAIN, _FAINT, 7)
        canvas.setStrokeColor(_LINE)
        canvas.setLineWidth(0.5)
        canvas.line(left, top - 3.5, right, top - 3.5)
        y = top - 13
        for number, (color, cells) in enumerate(rows):
            is_last = bold_last and number == len(rows) - 1
            line(y, cells, _BOLD if is_last else _PLAIN, color, 8)
            y -= 11
        return y

    def _rule(self) -> None:
        self._canvas.setStrokeColor(_LINE)
        self._canvas.setLineWidth(0.8)
        self._canvas.line(self._left, self._y, self._right, self._y)
        self._y -= 8

    def _text(
        self,
        at: tuple[float, float],
        words: str,
        font: str,
        size: float,
        color: Color,
        *,
        align: str = "left",
    ) -> None:
        self._canvas.setFillColor(color)
        self._canvas.setFont(font, size)
        draw = {
            "left": self._canvas.drawString,
            "right": self._canvas.drawRightString,
            "middle": self._canvas.drawCentredString,
        }[align]
        draw(*at, words)

    @staticmethod
    def _wrapped(words: str, size: float, width: float) -> list[str]:
        return _Page._joined(words.split(), " ", size, width)

    @staticmethod
    def _joined(parts: Iterable[str], separator: str, size: float, width: float) -> list[str]:
        """Return parts joined to lines that are no wider than this, where one part is not."""
        lines = [""]
        for part in parts:
            longer = f"{lines[-1]}{separator}{part}" if lines[-1] else part
            if lines[-1] and stringWidth(longer, _PLAIN, size) > width:
                lines.append(part)
            else:
                lines[-1] = longer
        return lines


def _small(picture: Image.Image) -> Image.Image:
    """Return a picture at the resolution of print: 768 pixels on 6 cm are more than is seen."""
    pixels: NDArray[np.uint8] = np.asarray(
        picture.resize((picture.width * 2 // 3, picture.height * 2 // 3), Image.Resampling.LANCZOS)
    )
    return Image.fromarray(pixels)


def _printable(words: str | None, otherwise: str) -> str:
    """Return a text if the fonts of every PDF reader have its characters."""
    if not words:
        return otherwise
    try:
        words.encode("cp1252")
    except UnicodeEncodeError:
        return otherwise
    return words if words.isprintable() else otherwise


def _date(study_date: str | None) -> str:
    if study_date is None or len(study_date) != 8 or not study_date.isdigit():
        return "date not known"
    return f"{study_date[:4]}-{study_date[4:6]}-{study_date[6:]}"


def _cells(scores: Mapping[str, Any], *, mass: bool) -> list[str]:
    return [
        f"{scores['agatston_score']:.1f}",
        f"{scores['volume_score_mm3']:.1f}",
        *([f"{scores['mass_score_mg']:.1f}"] if mass else []),
        str(scores["lesion_count"]),
    ]


def _slices(lesion: Mapping[str, Any]) -> str:
    first, last = lesion["first_slice_index"], lesion["last_slice_index"]
    return str(first) if first == last else f"{first}-{last}"


def _percentile(name: str, entry: Mapping[str, Any]) -> str:
    if entry["value"] is None:
        return f"{name}: no percentile. {entry['reason']}"
    if entry["value"] == "0":
        return f"{name}: score 0; none of {entry['reference_group']}, has less"
    return f"{name}: {_WORDS_OF_BAND[entry['value']]} of {entry['reference_group']}"


def _repeat_scan(uncertainty: Mapping[str, Any] | None) -> str:
    if uncertainty is None or uncertainty["low"] is None:
        return "A repeat scan: nothing can be said from this one."
    return (
        f"A repeat scan would score {uncertainty['low']:.0f} to {uncertainty['high']:.0f} in "
        f"{100 * uncertainty['level']:.0f} % of cases, from noise and voxel grid alone."
    )


def _rules(protocol: Mapping[str, Any]) -> str:
    least = [
        f"{protocol['min_lesion_area_mm2']:g} mm²" if protocol["min_lesion_area_mm2"] else "",
        f"{protocol['min_lesion_pixel_count']} pixels"
        if protocol["min_lesion_pixel_count"] > 1
        else "",
    ]
    smallest = " and ".join(one for one in least if one) or "none"
    return f"from {protocol['threshold_hu']:g} HU, smallest lesion {smallest}"
