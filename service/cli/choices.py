"""What a user chooses on the command line about a score: its rules, and facts of the patient."""

from __future__ import annotations

from dataclasses import dataclass, replace

from calcium_scoring.scoring.conventions import CONVENTIONS, ConventionName
from calcium_scoring.scoring.mass_score import LARGEST_MASS_CALIBRATION_FACTOR
from calcium_scoring.scoring.mesa_risk import RiskFactors
from calcium_scoring.scoring.percentiles import RaceOrEthnicity
from calcium_scoring.scoring.protocol import ScoringProtocol
from calcium_scoring.scoring.tube_voltage import TubeVoltageTableName
from calcium_scoring.volume.patient import Sex
from service.application.categories import GivenFacts
from service.cli.outcome import UsageMistake


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
        protocol: ConventionName,
        tube_voltage_table: TubeVoltageTableName,
        mass_factor: float | None,
        given: GivenFacts,
    ) -> ScoreChoices:
        """Return the choices of a command line; UsageMistake for an impossible factor."""
        if mass_factor is not None and not 0.0 < mass_factor <= LARGEST_MASS_CALIBRATION_FACTOR:
            raise UsageMistake(
                f"--mass-factor {mass_factor:g}: a factor is above 0 and at most "
                f"{LARGEST_MASS_CALIBRATION_FACTOR:g} mg/(cm3 HU), at 120 kV about 0.7 to 0.8."
            )
        chosen = replace(CONVENTIONS[protocol], tube_voltage_table=tube_voltage_table)
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
