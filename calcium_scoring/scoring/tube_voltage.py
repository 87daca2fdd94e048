"""What counts as calcium at another tube voltage than 120 kV, as named tables.

The lower the voltage, the brighter calcium is. Published tables disagree (145 or 147 HU at
100 kV), and the categories of a score were established at 120 kV: by default the threshold is
130 HU at every voltage and the report warns. A setting chooses another table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

TubeVoltageTableName = Literal["constant_130", "grani_2018", "fqm_2021"]


@dataclass(frozen=True)
class VoltageThresholds:
    """Threshold and bounds of the density weight at one tube voltage, in HU."""

    threshold_hu: float
    density_weight_bounds_hu: tuple[float, float, float, float]


@dataclass(frozen=True)
class TubeVoltageTable:
    """Thresholds by tube voltage in kV; an empty table leaves a protocol as it is."""

    name: str
    source: str
    by_kvp: Mapping[float, VoltageThresholds] = field(default_factory=dict)

    def at(self, kvp: float | None) -> VoltageThresholds | None:
        """Return the thresholds at this voltage, or None where the table has none."""
        return None if kvp is None else self.by_kvp.get(kvp)

    def covers(self, kvp: float | None) -> bool:
        """Tell whether the table says what holds at this voltage; an empty one always does."""
        return not self.by_kvp or self.at(kvp) is not None


def _row(first: float, second: float, third: float, fourth: float) -> VoltageThresholds:
    return VoltageThresholds(first, (first, second, third, fourth))


CONSTANT_130: Final = TubeVoltageTable(
    "constant_130",
    "130, 200, 300 and 400 HU as defined at 120 kV (Agatston et al., J Am Coll Cardiol "
    "1990;15:827-832), at every tube voltage.",
)

GRANI_2018: Final = TubeVoltageTable(
    "grani_2018",
    "Gräni et al., Eur Heart J Cardiovasc Imaging 2018;19:1362-1371, doi 10.1093/ehjci/jey019, as "
    "MolloiLab/CalciumScoring.jl has it.",
    {
        70.0: _row(207.0, 318.0, 477.0, 636.0),
        80.0: _row(177.0, 271.0, 408.0, 544.0),
        100.0: _row(145.0, 222.0, 334.0, 446.0),
        120.0: _row(130.0, 200.0, 300.0, 400.0),
        135.0: _row(119.0, 183.0, 274.0, 364.0),
    },
)

FQM_2021: Final = TubeVoltageTable(
    "fqm_2021",
    "van Praagh et al., Med Phys 2021, doi 10.1002/mp.14912, as nwerf/FQM_Analysis has it: at "
    "100 kV the threshold is 147 HU and the weights change where they do at 120 kV.",
    {
        100.0: _row(147.0, 200.0, 300.0, 400.0),
        120.0: _row(130.0, 200.0, 300.0, 400.0),
    },
)

TUBE_VOLTAGE_TABLES: Final[Mapping[str, TubeVoltageTable]] = MappingProxyType(
    {table.name: table for table in (CONSTANT_130, GRANI_2018, FQM_2021)}
)
"""Every table by its name."""
