"""What a user chooses on the command line about a score: its rules, and facts of the patient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from calcium_scoring.scoring.conventions import CONVENTIONS
from calcium_scoring.scoring.mesa_risk import RiskFactors
from calcium_scoring.scoring.percentiles import RaceOrEthnicity
from calcium_scoring.scoring.protocol import LITERATURE, ScoringProtocol
from calcium_scoring.scoring.tube_voltage import CONSTANT_130, TUBE_VOLTAGE_TABLES
from calcium_scoring.volume.patient import Sex
from service.application.categories import GivenFacts
from service.cli.outcome import UsageMistake

LARGEST_MASS_FACTOR: Final = 10.0
"""Factors are about 0.6 to 1 mg/(cm3 HU); a larger one is a slip of the unit. Our choice."""

ProtocolChoice = StrEnum("ProtocolChoice", {name: name for name in CONVENTIONS})
TableChoice = StrEnum("TableChoice", {name: name for name in TUBE_VOLTAGE_TABLES})

DEFAULT_PROTOCOL: Final = ProtocolChoice(LITERATURE.name)
DEFAULT_TABLE: Final = TableChoice(CONSTANT_130.name)


@dataclass(frozen=True)
class ScoreChoices:
    """The rules of a score and what is said about the patient."""

    protocol: ScoringProtocol
    mass_calibration_factor: float | None
    given: GivenFacts

    @classmethod
    def of(
        cls,
        *,
        protocol: StrEnum,
        tube_voltage_table: StrEnum,
        mass_factor: float | None,
        given: GivenFacts,
    ) -> ScoreChoices:
        """Return the choices of a command line; UsageMistake for an impossible factor."""
        if mass_factor is not None and not 0.0 < mass_factor <= LARGEST_MASS_FACTOR:
            raise UsageMistake(
                f"--mass-factor {mass_factor:g}: a factor is above 0 and at most "
                f"{LARGEST_MASS_FACTOR:g} mg/(cm3 HU), usually 0.6 to 1."
            )
        chosen = replace(CONVENTIONS[protocol.value], tube_voltage_table=tube_voltage_table.value)
        return cls(chosen, mass_factor, given)


def given_facts(
    age: int | None,
    sex: Sex | None,
    race_or_ethnicity: RaceOrEthnicity | None,
    risk_factors: dict[str, bool | float | None] | None = None,
) -> GivenFacts:
    """Return what a user said; UsageMistake where only some of the risk factors are given.

    ``risk_factors`` is by the fields of :class:`RiskFactors`; all None means that none is given.
    """
    values = risk_factors or {}
    missing = [name for name, value in values.items() if value is None]
    if len(missing) == len(values):
        return GivenFacts(age, sex, race_or_ethnicity)
    if missing:
        raise UsageMistake(
            "The ten-year risk needs every risk factor; not given: "
            f"{', '.join(name.replace('_', ' ') for name in missing)}."
        )
    try:
        factors = RiskFactors(**values)  # type: ignore[arg-type]  # no value is None here
    except ValueError as error:
        raise UsageMistake(str(error)) from error
    return GivenFacts(age, sex, race_or_ethnicity, factors)
