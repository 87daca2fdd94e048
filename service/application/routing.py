"""Which of the series that arrive are scored: rules, read from top to bottom.

The first rule that fits a series decides; where none fits, the series is ignored. A rule fits when
all conditions of ``when`` hold and none of ``unless`` does. What a header does not say fulfils no
condition on a text or a number; a flag that is not stated counts as no.
"""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from service.application.jobs import JobRequest, Priority

FactValue = tuple[str, ...] | float | bool | None
Facts = Mapping[str, FactValue]

TEXT_FACTS: Final = (
    "modality",
    "series_description",
    "protocol_name",
    "study_description",
    "body_part_examined",
    "convolution_kernel",
    "image_type",
    "manufacturer",
    "manufacturer_model_name",
    "station_name",
    "institution_name",
    "calling_ae_title",
    "called_ae_title",
)
"""Conditions on these are patterns: ``*`` is any text, ``?`` any character, case does not count."""

NUMBER_FACTS: Final = ("slice_thickness_mm", "kvp", "slice_count")
"""Conditions on these are a number, or a range."""

FLAG_FACTS: Final = ("is_contrast_enhanced", "is_ecg_gated")
"""Conditions on these are true or false."""

ARRIVAL_FACTS: Final = ("calling_ae_title", "called_ae_title")
"""What is known of the arrival and not of the headers."""

NUMBER_TOLERANCE: Final = 1e-6
"""Numbers of headers are decimals: 3.0 and 3 are the same, 2.9 is not. Our choice."""

_LONGEST_SHOWN: Final = 60


class Action(StrEnum):
    """What becomes of a series."""

    SCORE = "score"
    IGNORE = "ignore"


class Condition(Protocol):
    """Something that may hold of a series."""

    @property
    def fact(self) -> str:
        """Name of what it asks for."""
        ...

    def holds(self, facts: Facts) -> bool:
        """Tell whether it holds."""
        ...

    def wanted(self) -> str:
        """Say what would fulfil it."""
        ...


@dataclass(frozen=True)
class TextCondition:
    """One of the values fits one of the patterns."""

    fact: str
    patterns: tuple[str, ...]

    def holds(self, facts: Facts) -> bool:
        """Tell whether it holds."""
        values = facts.get(self.fact)
        return isinstance(values, tuple) and any(
            re.fullmatch(fnmatch.translate(_escaped(pattern)), value, re.IGNORECASE)
            for pattern in self.patterns
            for value in values
        )

    def wanted(self) -> str:
        """Say what would fulfil it."""
        return " or ".join(self.patterns)


@dataclass(frozen=True)
class NumberCondition:
    """The value lies between two bounds, both included; None is no bound."""

    fact: str
    at_least: float | None
    at_most: float | None

    def holds(self, facts: Facts) -> bool:
        """Tell whether it holds."""
        value = facts.get(self.fact)
        if not isinstance(value, float):
            return False
        return (self.at_least is None or value >= self.at_least - NUMBER_TOLERANCE) and (
            self.at_most is None or value <= self.at_most + NUMBER_TOLERANCE
        )

    def wanted(self) -> str:
        """Say what would fulfil it."""
        if self.at_least == self.at_most:
            return f"{self.at_least:g}"
        low = "" if self.at_least is None else f"at least {self.at_least:g}"
        high = "" if self.at_most is None else f"at most {self.at_most:g}"
        return " and ".join(bound for bound in (low, high) if bound)


@dataclass(frozen=True)
class FlagCondition:
    """The headers say so, or, with ``value`` false, do not."""

    fact: str
    value: bool

    def holds(self, facts: Facts) -> bool:
        """Tell whether it holds."""
        return bool(facts.get(self.fact)) is self.value

    def wanted(self) -> str:
        """Say what would fulfil it."""
        return "yes" if self.value else "no"


@dataclass(frozen=True)
class Rule:
    """What to do with a series that fits; None leaves to the service what the rule does not say."""

    name: str
    action: Action
    when: tuple[Condition, ...] = ()
    unless: tuple[Condition, ...] = ()
    priority: Priority | None = None
    tenant: str | None = None
    destinations: tuple[str, ...] | None = None

    def objection(self, facts: Facts) -> str | None:
        """Return why a series does not fit this rule; None where it does."""
        for condition in self.when:
            if not condition.holds(facts):
                return f"{shown(facts, condition.fact)}, not {condition.wanted()}"
        for condition in self.unless:
            if condition.holds(facts):
                return f"{shown(facts, condition.fact)}, which it excludes"
        return None

    def reason(self, facts: Facts) -> str:
        """Return why a series fits this rule."""
        held = [shown(facts, condition.fact) for condition in self.when]
        return "; ".join(held) or "it takes every series that no rule above took"


@dataclass(frozen=True)
class Decision:
    """Which rule decided on a series and why; no rule where none fits.

    ``passed_over`` are the rules above it with what the series has against each.
    """

    rule: Rule | None
    reason: str
    passed_over: tuple[tuple[str, str], ...] = ()

    @property
    def is_scored(self) -> bool:
        """Whether the series is to be scored."""
        return self.rule is not None and self.rule.action is Action.SCORE


@dataclass(frozen=True)
class Rules:
    """Rules in their order."""

    rules: tuple[Rule, ...]

    def decide(self, facts: Facts) -> Decision:
        """Find the first rule that fits."""
        passed_over: list[tuple[str, str]] = []
        for rule in self.rules:
            objection = rule.objection(facts)
            if objection is None:
                return Decision(rule, rule.reason(facts), tuple(passed_over))
            passed_over.append((rule.name, objection))
        return Decision(None, "no rule fits", tuple(passed_over))

    def destinations(self) -> frozenset[str]:
        """Return every destination that a rule names."""
        return frozenset(name for rule in self.rules for name in rule.destinations or ())


@dataclass(frozen=True)
class Submission:
    """Files that are submitted together as one study."""

    files: tuple[Path, ...]
    tenant: str
    request: JobRequest


def plan_submissions(
    decided: Iterable[tuple[Sequence[Path], Decision]], *, default_tenant: str
) -> list[Submission]:
    """Gather the series to score into studies: one for each tenant and list of destinations.

    Which series of a study is the calcium scan is then found as for any other upload. The study is
    as urgent as the most urgent of its series.
    """
    files: defaultdict[tuple[str, tuple[str, ...] | None], list[Path]] = defaultdict(list)
    priorities: dict[tuple[str, tuple[str, ...] | None], Priority] = {}
    for paths, decision in decided:
        rule = decision.rule
        if rule is None or rule.action is not Action.SCORE:
            continue
        key = (rule.tenant or default_tenant, rule.destinations)
        files[key] += paths
        priority = rule.priority or Priority.ROUTINE
        priorities[key] = min(priorities.get(key, priority), priority, key=lambda one: one.rank)
    return [
        Submission(
            tuple(paths),
            tenant,
            JobRequest(priorities[tenant, destinations], destinations=destinations),
        )
        for (tenant, destinations), paths in files.items()
    ]


def shown(facts: Facts, fact: str) -> str:
    """Say what is known of a series, in a few words."""
    value = facts.get(fact)
    if fact in FLAG_FACTS:
        words = {True: "yes", False: "no"}.get(value, "not stated")  # type: ignore[arg-type]
    elif value is None or value == ():
        words = "not stated"
    elif isinstance(value, tuple):
        words = "\\".join(value)
    else:
        words = f"{value:g}"
    clean = "".join(one if one.isprintable() else "?" for one in words)
    return f"{fact} is {clean[:_LONGEST_SHOWN]}"


def _escaped(pattern: str) -> str:
    """Return the pattern with brackets as plain characters: kernels have them, rules no classes."""
    return pattern.replace("[", "[[]")
