"""An axial slice as a picture, with its calcium outlined, for people to check a result.

Shown as radiologists expect it: the patient's right on the left, anterior at the top, square
pixels. The outline runs around the calcium, not over it; a corner magnifies the largest lesion.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import CORONARY, Artery, LabelArray, LabelMap

Rgb: TypeAlias = tuple[int, int, int]
GrayArray: TypeAlias = NDArray[np.uint8]
HuSlice: TypeAlias = NDArray[np.float32]
_Number = TypeVar("_Number", bound=np.generic)

WINDOW_CENTER_HU: Final = 40.0
WINDOW_WIDTH_HU: Final = 400.0
"""The usual soft-tissue window: fat is dark grey, blood light grey, calcium white."""

RESEARCH_USE: Final = "Research use only"

COLOR_OF_LABEL: Final[dict[int, Rgb]] = {
    Artery.LM: (255, 214, 10),
    Artery.LAD: (255, 69, 58),
    Artery.LCX: (50, 215, 75),
    Artery.RCA: (10, 132, 255),
    CORONARY: (255, 69, 58),
}
"""Four hues that people with any kind of colour vision tell apart by name and legend."""

NAME_OF_LABEL: Final[dict[int, str]] = {
    **{artery: artery.name for artery in Artery},
    CORONARY: "coronary calcium",
}

_SIDE_PX: Final = 768
_CAPTION_PX: Final = 34
_MARGIN_PX: Final = 12
_FONT_PX: Final = 16
_OUTLINE_PX: Final = 2
_INSET_PX: Final = 236
_INSET_MAGNIFICATION: Final = 2.5
_SCALE_BAR_MM: Final = 50.0
_FILL_OPACITY: Final = 0.25
_TEXT: Final[Rgb] = (235, 235, 235)
_NOTICE: Final[Rgb] = (255, 159, 10)
_DARK: Final[Rgb] = (0, 0, 0)
_CAPTION_BACKGROUND: Final[Rgb] = (24, 24, 26)


def render_overlay_png(
    volume: CtVolume,
    label_map: LabelMap,
    slice_index: int,
    *,
    window_center_hu: float = WINDOW_CENTER_HU,
    window_width_hu: float = WINDOW_WIDTH_HU,
) -> bytes:
    """Return one slice with its labels as a PNG; ``slice_index`` counts from the lowest slice.

    Raises
    ------
    IndexError
        There is no such slice; negative indices are none.
    """
    slice_count = volume.geometry.shape[0]
    if not 0 <= slice_index < slice_count:
        raise IndexError(f"Slice {slice_index} is not among 0 to {slice_count - 1}.")
    view = _View.of(volume.geometry)
    hu = view.turned(volume.slice_hu(slice_index))
    labels = view.turned(label_map.labels[slice_index])
    gray = _windowed(hu, window_center_hu, window_width_hu)

    picture = _outlined(gray, labels, view.size_px)
    if labels.any():
        _paste_inset(picture, gray, labels, view)
    draw = ImageDraw.Draw(picture)
    _draw_legend(draw, [int(label) for label in np.unique(labels) if label])
    _draw_scale_bar(draw, view)
    _draw_sides(draw, view)

    page = Image.new(
        "RGB", (view.size_px[0], view.size_px[1] + _CAPTION_PX), color=_CAPTION_BACKGROUND
    )
    page.paste(picture, (0, 0))
    _draw_caption(page, volume, slice_index, window_center_hu, window_width_hu)
    png = BytesIO()
    page.save(png, format="PNG", compress_level=1)
    return png.getvalue()


def render_key_slice(volume: CtVolume, label_map: LabelMap) -> bytes:
    """Return the picture of the slice with most calcium, or of the middle one if there is none."""
    return render_overlay_png(volume, label_map, key_slice_index(label_map))


def key_slice_index(label_map: LabelMap) -> int:
    """Return the slice with the largest area of calcium; the middle slice if there is none."""
    areas = np.count_nonzero(label_map.labels, axis=(1, 2))
    return int(areas.argmax()) if areas.any() else len(areas) // 2


@dataclass(frozen=True)
class _View:
    """How a slice is turned and scaled to be shown; sizes are (width, height)."""

    flips_rows: bool
    flips_columns: bool
    pixel_spacing_mm: tuple[float, float]
    px_per_mm: float
    size_px: tuple[int, int]

    @classmethod
    def of(cls, geometry: VolumeGeometry) -> _View:
        _, rows, columns = geometry.shape
        row_mm, column_mm = geometry.pixel_spacing_mm
        px_per_mm = _SIDE_PX / max(rows * row_mm, columns * column_mm)
        return cls(
            flips_rows=bool(geometry.affine[1, 1] < 0),
            flips_columns=bool(geometry.affine[0, 2] < 0),
            pixel_spacing_mm=(row_mm, column_mm),
            px_per_mm=px_per_mm,
            size_px=(round(columns * column_mm * px_per_mm), round(rows * row_mm * px_per_mm)),
        )

    def turned(self, plane: NDArray[_Number]) -> NDArray[_Number]:
        """Return a slice with the patient's right on the left and anterior at the top."""
        return plane[:: -1 if self.flips_rows else 1, :: -1 if self.flips_columns else 1]


def _windowed(hu: HuSlice, center_hu: float, width_hu: float) -> GrayArray:
    """Return display values; linear within the window (PS3.3 C.11.2.1.3.2)."""
    levels = (hu - (center_hu - width_hu / 2)) * (255.0 / width_hu)
    gray: GrayArray = np.clip(levels, 0.0, 255.0).astype(np.uint8)
    return gray


def _outlined(
    gray: GrayArray, labels: LabelArray, size_px: tuple[int, int], outline_px: int = _OUTLINE_PX
) -> Image.Image:
    """Return the slice in this size, each label tinted and outlined in its colour."""
    scaled = Image.fromarray(gray).resize(size_px, Image.Resampling.BICUBIC)
    if not labels.any():
        return scaled.convert("RGB")
    rgb = np.array(scaled.convert("RGB"))
    shown = np.array(Image.fromarray(labels).resize(size_px, Image.Resampling.NEAREST))
    for label, color in COLOR_OF_LABEL.items():
        mask = shown == label
        if not mask.any():
            continue
        tint = np.array(color) * _FILL_OPACITY
        rgb[mask] = (rgb[mask] * (1 - _FILL_OPACITY) + tint).astype(np.uint8)
        ring = ndimage.binary_dilation(mask, iterations=outline_px) & (shown == 0)
        rgb[ring] = color
    return Image.fromarray(rgb)


def _paste_inset(picture: Image.Image, gray: GrayArray, labels: LabelArray, view: _View) -> None:
    """Magnify the surroundings of the largest lesion, in a corner where nothing is hidden."""
    lesions, _ = ndimage.label(labels, structure=np.ones((3, 3)))
    largest = int(np.bincount(lesions.ravel())[1:].argmax()) + 1
    rows, columns = _surroundings(lesions == largest, view)
    row_px, column_px = (spacing * view.px_per_mm for spacing in view.pixel_spacing_mm)
    source = (
        columns.start * column_px,
        rows.start * row_px,
        columns.stop * column_px,
        rows.stop * row_px,
    )
    left = view.size_px[0] - _INSET_PX - _MARGIN_PX
    for top in (_MARGIN_PX, view.size_px[1] - _INSET_PX - _MARGIN_PX):
        hidden = labels[
            max(0, int(top / row_px)) : int((top + _INSET_PX) / row_px) + 1,
            max(0, int(left / column_px)) :,
        ]
        overlaps = source[2] > left and source[1] < top + _INSET_PX and source[3] > top
        if not hidden.any() and not overlaps:
            break
    else:
        return
    inset = _outlined(gray[rows, columns], labels[rows, columns], (_INSET_PX, _INSET_PX))
    picture.paste(inset, (left, top))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((left - 1, top - 1, left + _INSET_PX, top + _INSET_PX), outline=_TEXT)
    draw.rectangle(source, outline=_TEXT)


def _surroundings(lesion: NDArray[np.bool_], view: _View) -> tuple[slice, slice]:
    """Return rows and columns round a lesion, as many as the inset shows magnified."""
    side_mm = _INSET_PX / _INSET_MAGNIFICATION / view.px_per_mm
    centre = ndimage.center_of_mass(lesion)
    sides = [
        min(max(1, round(side_mm / spacing_mm)), extent)
        for spacing_mm, extent in zip(view.pixel_spacing_mm, lesion.shape, strict=True)
    ]
    starts = [
        int(np.clip(round(middle - side / 2), 0, extent - side))
        for middle, side, extent in zip(centre, sides, lesion.shape, strict=True)
    ]
    rows, columns = (slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    return rows, columns


def _draw_legend(draw: ImageDraw.ImageDraw, labels: list[int]) -> None:
    for line, label in enumerate(labels):
        top = _MARGIN_PX + line * (_FONT_PX + 8)
        draw.rectangle(
            (_MARGIN_PX, top + 2, _MARGIN_PX + _FONT_PX - 2, top + _FONT_PX),
            outline=COLOR_OF_LABEL[label],
            width=_OUTLINE_PX,
        )
        _write(draw, (_MARGIN_PX + _FONT_PX + 6, top), NAME_OF_LABEL[label])


def _draw_scale_bar(draw: ImageDraw.ImageDraw, view: _View) -> None:
    length_px = round(_SCALE_BAR_MM * view.px_per_mm)
    if length_px > view.size_px[0] // 2:
        return
    left, bottom = _MARGIN_PX, view.size_px[1] - _MARGIN_PX
    draw.line((left, bottom, left + length_px, bottom), fill=_TEXT, width=2)
    for x in (left, left + length_px):
        draw.line((x, bottom - 6, x, bottom), fill=_TEXT, width=2)
    _write(draw, (left, bottom - _FONT_PX - 12), f"{_SCALE_BAR_MM / 10:g} cm")


def _draw_sides(draw: ImageDraw.ImageDraw, view: _View) -> None:
    """Name the patient's sides: right and left."""
    middle = view.size_px[1] // 2
    _write(draw, (_MARGIN_PX, middle), "R")
    _write(draw, (view.size_px[0] - _MARGIN_PX, middle), "L", anchor="ra")


def _draw_caption(
    page: Image.Image, volume: CtVolume, slice_index: int, center_hu: float, width_hu: float
) -> None:
    draw = ImageDraw.Draw(page)
    slice_count = volume.geometry.shape[0]
    _, _, z_mm = volume.geometry.position_lps_mm((slice_index, 0, 0))
    top = page.height - _CAPTION_PX + (_CAPTION_PX - _FONT_PX) // 2 - 1
    _write(
        draw,
        (_MARGIN_PX, top),
        f"Slice {slice_index} (0 to {slice_count - 1}, upwards)   z {z_mm:.1f} mm   "
        f"window {center_hu:g} / {width_hu:g} HU",
    )
    _write(draw, (page.width - _MARGIN_PX, top), RESEARCH_USE, anchor="ra", fill=_NOTICE)


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    words: str,
    *,
    anchor: str = "la",
    fill: Rgb = _TEXT,
) -> None:
    draw.text(at, words, font=_font(), anchor=anchor, fill=fill, stroke_width=1, stroke_fill=_DARK)


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_FONT_PX)
