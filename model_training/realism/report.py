"""One round of comparison: everything measured, as data, as tables and as a row of the log."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model_training.realism.noise import Noise, noise_of, spectrum_distance
from model_training.realism.patches import cut_patches
from model_training.realism.recognition import Auc, Sample, TellingFeature, recognise
from model_training.realism.scans import Scan
from model_training.realism.tissues import (
    TISSUES,
    DenseSpots,
    Peak,
    dense_shares,
    edge_widths_mm,
    peak_of,
    tissue_distance_hu,
    tissue_samples,
)
from model_training.realism.zones import MEASURED_ZONES, Zone, zone_map

ZoneMaps: TypeAlias = tuple[NDArray[np.uint8], ...]

NOISE_ZONES: Final = (Zone.HEART, Zone.ABDOMEN, Zone.WALL)
FEATURES_SHOWN: Final = 8
LOG_HEADING: Final = (
    "| version | note | AUC figures | AUC pictures | heart | lung | bone | abdomen | wall "
    "| spectrum | noise SD | along z | fat | blood | lung HU | bone HU |"
)
LOG_RULE: Final = "|---" * (LOG_HEADING.count("|") - 1) + "|"
BETWEEN_REAL: Final = "between real scans"


@dataclass(frozen=True)
class Described:
    """Everything measured in one scan."""

    name: str
    matched_to: str
    is_real: bool
    noise: dict[Zone, Noise]
    tissues: dict[str, NDArray[np.float32]]
    peaks: dict[str, Peak]
    dense: dict[Zone, DenseSpots]
    edges_mm: dict[str, float]


@dataclass(frozen=True)
class Difference:
    """How far simulated twins are from the real scan, and real scans from each other.

    ``real`` and ``simulated`` are medians over scans; ``distance`` is the mean over pairs of a
    real scan and a twin of it, ``between_real`` that over pairs of real scans: a distance that is
    not larger than this is within what real scans differ by.
    """

    measure: str
    unit: str
    real: float | None
    simulated: float | None
    distance: float | None
    between_real: float | None


@dataclass(frozen=True)
class RealismReport:
    """A round: who was compared, how far apart they are, and how well they are told apart."""

    version: str
    real_scans: tuple[str, ...]
    twin_count: int
    patch_count: int
    differences: tuple[Difference, ...]
    auc: dict[str, dict[str, Auc]]
    telling: dict[Zone, list[TellingFeature]]

    def write_json(self, path: Path) -> None:
        """Write everything that was found."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = asdict(self)
        content["telling"] = {
            zone.name.lower(): [asdict(feature) for feature in features]
            for zone, features in self.telling.items()
        }
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def difference(self, measure: str) -> Difference | None:
        """Return the difference of this name, if it could be measured."""
        return next((found for found in self.differences if found.measure == measure), None)

    def log_row(self, note: str) -> str:
        """Return the row of this round for the table whose heading is ``LOG_HEADING``."""
        figures, pictures = self.auc["figures"], self.auc.get("pictures", {})
        best = pictures or figures
        cells = [self.version, note, _interval(figures.get("all")), _interval(pictures.get("all"))]
        cells += [
            _two_places(best[name].value if name in best else None)
            for name in ("heart", "lung", "bone", "abdomen", "wall")
        ]
        cells += [
            _distance(self.difference(name), places)
            for name, places in (
                ("noise spectrum, heart", 2),
                ("noise SD, heart", 1),
                ("noise along z, heart", 2),
                ("fat of the wall", 0),
                ("blood and heart muscle", 0),
                ("lung", 0),
                ("bone", 0),
            )
        ]
        return "| " + " | ".join(cells) + " |"

    def markdown(self) -> str:
        """Return the round as tables."""
        lines = [
            f"{self.twin_count} twins of {len(self.real_scans)} scans, {self.patch_count} patches.",
            "",
            "| zone | classifier | AUC | by real scan |",
            "|---|---|---|---|",
        ]
        for name, areas in self.auc.items():
            for zone, area in areas.items():
                by_scan = ", ".join(f"{scan} {value:.2f}" for scan, value in area.by_scan.items())
                lines.append(f"| {zone} | {name} | {_interval(area)} | {by_scan} |")
        lines += [
            "",
            "| measure | unit | real | simulated | distance | between real scans |",
            "|---|---|---|---|---|---|",
        ]
        for found in self.differences:
            cells = (found.real, found.simulated, found.distance, found.between_real)
            lines.append(
                f"| {found.measure} | {found.unit} | "
                + " | ".join("-" if cell is None else f"{cell:.3g}" for cell in cells)
                + " |"
            )
        lines += ["", "| zone | what tells | AUC | real | simulated |", "|---|---|---|---|---|"]
        for place, features in self.telling.items():
            lines += [
                f"| {place.name.lower()} | {feature.name} | {feature.auc:.2f} "
                f"| {feature.real_median:.3g} | {feature.simulated_median:.3g} |"
                for feature in features[:FEATURES_SHOWN]
            ]
        return "\n".join(lines) + "\n"


def compare(
    real: Sequence[Scan],
    twins: Sequence[Scan],
    *,
    version: str,
    seed: int = 0,
    use_pictures: bool = True,
) -> RealismReport:
    """Compare real scans with their simulated twins.

    Raises
    ------
    ValueError
        If there are not at least two real scans, each with a twin: one is left out at a time.
    """
    names = {scan.name for scan in real}
    if len(names) < 2 or names != {twin.matched_to for twin in twins}:
        raise ValueError(
            "At least two real scans are needed, each with a simulated twin; there are "
            f"{len(names)} real scans and twins of {len({twin.matched_to for twin in twins})}."
        )
    rng = np.random.default_rng(seed)
    described, samples = [], []
    for scan in (*real, *twins):
        zones = zones_of(scan)
        described.append(_describe_scan(scan, zones, rng))
        samples += [
            Sample(patch, scan.is_real, scan.matched_to) for patch in cut_patches(scan, zones, rng)
        ]
    areas, telling = recognise(samples, seed=seed, use_pictures=use_pictures)
    return RealismReport(
        version=version,
        real_scans=tuple(scan.name for scan in real),
        twin_count=len(twins),
        patch_count=len(samples),
        differences=tuple(_differences(described)),
        auc=areas,
        telling=telling,
    )


def zones_of(scan: Scan) -> ZoneMaps:
    """Return the zones of every slab of a scan."""
    return tuple(zone_map(slab) for slab in scan.slabs)


def heart_noise_hu(scan: Scan) -> float:
    """Return the noise of the blood and muscle of the heart, which its twins are asked to have."""
    noise = noise_of(scan, zones_of(scan), Zone.HEART)
    if noise is None:
        raise ValueError(f"{scan.name} shows no even tissue between the lungs.")
    return noise.sd_hu


def append_log_row(path: Path, row: str) -> None:
    """Append a row to the table of rounds in a Markdown file, right below its last row.

    Raises
    ------
    ValueError
        If the file has no such table.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    if LOG_HEADING not in lines:
        raise ValueError(f"{path} has no table with the heading {LOG_HEADING!r}.")
    end = lines.index(LOG_HEADING) + 1
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    lines.insert(end, row)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def code_version() -> str:
    """Return what ``git describe`` says of the working tree, or ``unknown`` outside of one."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"],  # noqa: S607 - the git of the path
            capture_output=True, text=True, check=True, cwd=Path(__file__).parent,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _describe_scan(scan: Scan, zones: ZoneMaps, rng: np.random.Generator) -> Described:
    noise = {zone: noise_of(scan, zones, zone) for zone in NOISE_ZONES}
    tissues = {tissue.name: tissue_samples(scan, zones, tissue, rng) for tissue in TISSUES}
    peaks = {name: peak_of(samples) for name, samples in tissues.items()}
    return Described(
        name=scan.name,
        matched_to=scan.matched_to,
        is_real=scan.is_real,
        noise={zone: found for zone, found in noise.items() if found is not None},
        tissues=tissues,
        peaks={name: peak for name, peak in peaks.items() if peak is not None},
        dense=dense_shares(scan, zones),
        edges_mm=edge_widths_mm(scan, zones),
    )


def _differences(described: Sequence[Described]) -> list[Difference]:
    found = []
    for zone in NOISE_ZONES:
        name = zone.name.lower()
        noises = {id(scan): scan.noise.get(zone) for scan in described}
        numbers: tuple[tuple[str, str, Callable[[Noise], float]], ...] = (
            (f"noise SD, {name}", "HU", lambda noise: noise.sd_hu),
            (f"noise frequency, {name}", "1/mm", lambda noise: noise.mean_frequency_per_mm),
            (f"noise along z, {name}", "correlation", lambda noise: noise.correlation_along_z),
        )
        for measure, unit, number in numbers:
            found.append(
                _number_difference(
                    described,
                    measure,
                    unit,
                    {
                        key: None if noise is None else number(noise)
                        for key, noise in noises.items()
                    },
                )
            )
        found.append(
            _pair_difference(
                described,
                f"noise spectrum, {name}",
                "share",
                lambda a, b, zone=zone: (  # type: ignore[misc]
                    spectrum_distance(a.noise[zone], b.noise[zone])
                    if zone in a.noise and zone in b.noise
                    else None
                ),
            )
        )
    for tissue in TISSUES:
        found.append(
            _pair_difference(
                described,
                tissue.name,
                "HU",
                lambda a, b, name=tissue.name: tissue_distance_hu(  # type: ignore[misc]
                    a.tissues[name], b.tissues[name]
                ),
            )
        )
        peaks = {id(scan): scan.peaks.get(tissue.name) for scan in described}
        for measure, attribute in (("peak", "position_hu"), ("width of peak", "width_hu")):
            found.append(
                _number_difference(
                    described,
                    f"{measure}, {tissue.name}",
                    "HU",
                    {
                        key: None if peak is None else float(getattr(peak, attribute))
                        for key, peak in peaks.items()
                    },
                )
            )
    found += [
        _number_difference(
            described,
            f"edge width, {edge}",
            "mm",
            {id(scan): scan.edges_mm.get(edge) for scan in described},
        )
        for edge in ("skin", "heart and lung", "bone")
    ]
    for zone in MEASURED_ZONES:
        spots = {id(scan): scan.dense.get(zone) for scan in described}
        for measure, unit, attribute in (
            ("share >= 130 HU", "1", "share"),
            ("dense spots per slice", "1", "count_per_slice"),
            ("dense spots, median area", "mm2", "median_area_mm2"),
            ("dense spots, 90th percentile of area", "mm2", "high_area_mm2"),
            ("dense spots below 1 mm2", "share", "tiny_share"),
        ):
            found.append(
                _number_difference(
                    described,
                    f"{measure}, {zone.name.lower()}",
                    unit,
                    {
                        key: None if spot is None else float(getattr(spot, attribute))
                        for key, spot in spots.items()
                    },
                )
            )
    return found


def _number_difference(
    described: Sequence[Described], measure: str, unit: str, values: dict[int, float | None]
) -> Difference:
    def median(is_real: bool) -> float | None:
        side = [values[id(scan)] for scan in described if scan.is_real == is_real]
        known = [value for value in side if value is not None]
        return float(np.median(known)) if known else None

    def distance(first: Described, second: Described) -> float | None:
        a, b = values[id(first)], values[id(second)]
        return None if a is None or b is None else abs(a - b)

    pairs = _pair_difference(described, measure, unit, distance)
    return Difference(
        measure, unit, median(True), median(False), pairs.distance, pairs.between_real
    )


def _pair_difference(
    described: Sequence[Described],
    measure: str,
    unit: str,
    distance: Callable[[Described, Described], float | None],
) -> Difference:
    real = [scan for scan in described if scan.is_real]
    by_name = {scan.name: scan for scan in real}
    of_twins: dict[str, list[float]] = defaultdict(list)
    for twin in described:
        if not twin.is_real:
            value = distance(by_name[twin.matched_to], twin)
            if value is not None:
                of_twins[twin.matched_to].append(value)
    pairs = [(a, b) for index, a in enumerate(real) for b in real[index + 1 :]]
    between = [value for a, b in pairs if (value := distance(a, b)) is not None]
    means = [float(np.mean(values)) for values in of_twins.values()]
    return Difference(
        measure,
        unit,
        None,
        None,
        float(np.mean(means)) if means else None,
        float(np.mean(between)) if between else None,
    )


def _interval(area: Auc | None) -> str:
    return "-" if area is None else f"{area.value:.2f} ({area.low:.2f} to {area.high:.2f})"


def _two_places(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _distance(found: Difference | None, places: int) -> str:
    if found is None or found.distance is None:
        return "-"
    between = "-" if found.between_real is None else f"{found.between_real:.{places}f}"
    return f"{found.distance:.{places}f} ({between})"
