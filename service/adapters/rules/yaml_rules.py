"""Read routing rules from YAML; every mistake in the file is named with its line.

All mistakes are found at once, so that nobody has to start the node five times.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from service.application.access import TENANT_PATTERN
from service.application.errors import RulesRejected
from service.application.jobs import Priority
from service.application.routing import (
    FLAG_FACTS,
    NUMBER_FACTS,
    TEXT_FACTS,
    Action,
    Condition,
    FlagCondition,
    NumberCondition,
    Rule,
    Rules,
    TextCondition,
)

LARGEST_FILE_BYTES: Final = 1024 * 1024
"""A file of rules that people can read has some KiB; our choice."""

DEFAULT_RULES_FILE: Final = Path(str(files("service.adapters.rules") / "default_rules.yaml"))
"""The rules where no file is given."""

DESTINATION_PATTERN: Final = r"[a-z0-9][a-z0-9_-]{0,62}"
"""Names of destinations: letters, digits, ``-`` and ``_``, as those of tenants."""

_LONGEST_NAME: Final = 100
_CONTROLS: Final = re.compile(
    r"[^\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff\t\n\r]"
)


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


_Text = Annotated[StrictStr, StringConstraints(min_length=1, max_length=200)]
_Texts = Annotated[tuple[_Text, ...], BeforeValidator(_as_list), Field(min_length=1)]
_Number = StrictInt | StrictFloat


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Range(_Part):
    at_least: _Number | None = None
    at_most: _Number | None = None

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a range needs at_least, at_most, or both.")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"nothing is at least {self.at_least} and at most {self.at_most}.")
        return self


def _as_range(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"at_least": value, "at_most": value}
    return value


_Numbers = Annotated[_Range, BeforeValidator(_as_range)]


class _Conditions(_Part):
    modality: _Texts | None = None
    series_description: _Texts | None = None
    protocol_name: _Texts | None = None
    study_description: _Texts | None = None
    body_part_examined: _Texts | None = None
    convolution_kernel: _Texts | None = None
    image_type: _Texts | None = None
    manufacturer: _Texts | None = None
    manufacturer_model_name: _Texts | None = None
    station_name: _Texts | None = None
    institution_name: _Texts | None = None
    calling_ae_title: _Texts | None = None
    called_ae_title: _Texts | None = None
    slice_thickness_mm: _Numbers | None = None
    kvp: _Numbers | None = None
    slice_count: _Numbers | None = None
    is_contrast_enhanced: StrictBool | None = None
    is_ecg_gated: StrictBool | None = None

    @model_validator(mode="before")
    @classmethod
    def _check_values(cls, conditions: object) -> object:
        if isinstance(conditions, dict):
            empty = [str(name) for name, value in conditions.items() if value is None]
            if empty:
                raise ValueError(f"{', '.join(empty)} has no value.")
        return conditions

    def conditions(self) -> tuple[Condition, ...]:
        """Return the conditions in the order of the file."""
        return tuple(_condition(name, getattr(self, name)) for name in self.names())

    def names(self) -> list[str]:
        """Return the names that were given, texts before numbers before flags."""
        return [
            name
            for name in (*TEXT_FACTS, *NUMBER_FACTS, *FLAG_FACTS)
            if name in self.model_fields_set
        ]


def _condition(name: str, value: object) -> Condition:
    if isinstance(value, bool):
        return FlagCondition(name, value)
    if isinstance(value, _Range):
        low, high = value.at_least, value.at_most
        return NumberCondition(
            name, None if low is None else float(low), None if high is None else float(high)
        )
    if isinstance(value, tuple):
        return TextCondition(name, value)
    raise TypeError(f"{name} is no kind of condition.")


class _Rule(_Part):
    name: Annotated[StrictStr, StringConstraints(min_length=1, max_length=_LONGEST_NAME)]
    when: _Conditions = _Conditions()
    unless: _Conditions = _Conditions()
    action: Literal["score", "ignore"]
    priority: Literal["stat", "routine"] | None = None
    tenant: Annotated[StrictStr, StringConstraints(pattern=f"^{TENANT_PATTERN}$")] | None = None
    destinations: (
        tuple[
            Annotated[StrictStr, StringConstraints(pattern=f"^{DESTINATION_PATTERN}$")],
            ...,
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _check_action(self) -> Self:
        given = [
            name
            for name in ("priority", "tenant", "destinations")
            if getattr(self, name) is not None
        ]
        if self.action == "ignore" and given:
            raise ValueError(f"{', '.join(given)} says nothing of a series that is ignored.")
        return self

    @property
    def takes_everything(self) -> bool:
        """Whether no series gets past this rule."""
        return not self.when.model_fields_set and not self.unless.model_fields_set

    def rule(self) -> Rule:
        return Rule(
            name=self.name,
            action=Action(self.action),
            when=self.when.conditions(),
            unless=self.unless.conditions(),
            priority=None if self.priority is None else Priority(self.priority),
            tenant=self.tenant,
            destinations=self.destinations,
        )


class _File(_Part):
    version: Literal[1]
    rules: Annotated[tuple[_Rule, ...], Field(min_length=1)]


def load_rules(path: Path | None, destinations: Collection[str] | None = None) -> Rules:
    """Read the rules of a file, or those that are built in.

    Parameters
    ----------
    path
        The file; None: those that are built in.
    destinations
        Names of the destinations that there are; None: whatever a rule names is taken.

    Raises
    ------
    RulesRejected
        The file cannot be read, or is no set of rules; it names each mistake with its line.
    """
    source = path or DEFAULT_RULES_FILE
    try:
        with source.open("rb") as stream:
            content = stream.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise RulesRejected(
            source.name, [(None, f"the file cannot be read: {error.strerror}.")]
        ) from error
    if len(content) > LARGEST_FILE_BYTES:
        raise RulesRejected(source.name, [(None, f"more than {LARGEST_FILE_BYTES} bytes.")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise RulesRejected(source.name, [(line, "the file must be UTF-8.")]) from error
    return parse_rules(text, source.name, destinations)


def parse_rules(text: str, file_name: str, destinations: Collection[str] | None = None) -> Rules:
    """Read rules from YAML; raises RulesRejected with the name of the file and each line."""
    node = _compose(text, file_name)
    try:
        document: Any = yaml.SafeLoader("").construct_document(node)
        read = _File.model_validate(document)
    except yaml.YAMLError as error:
        raise RulesRejected(file_name, [_yaml_complaint(error)]) from error
    except ValidationError as error:
        raise RulesRejected(file_name, _complaints(node, error)) from error
    complaints = _complaints_about_order(read, node)
    if destinations is not None:
        complaints += _complaints_about_destinations(read, node, destinations)
    if complaints:
        raise RulesRejected(file_name, complaints)
    return Rules(tuple(rule.rule() for rule in read.rules))


def _compose(text: str, file_name: str) -> yaml.Node:
    control = _CONTROLS.search(text)
    if control:
        line = text[: control.start()].count("\n") + 1
        raise RulesRejected(file_name, [(line, "a control character, which YAML does not allow.")])
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise RulesRejected(file_name, [_yaml_complaint(error)]) from error
    except RecursionError as error:
        raise RulesRejected(file_name, [(None, "lists within lists without end.")]) from error
    if not isinstance(node, yaml.MappingNode):
        raise RulesRejected(file_name, [(1, "the file must begin with `version: 1` and `rules:`.")])
    twice = _repeated_keys(node)
    if twice:
        raise RulesRejected(file_name, twice)
    return node


def _yaml_complaint(error: yaml.YAMLError) -> tuple[int | None, str]:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "no YAML"
    return (None if mark is None else mark.line + 1), f"{problem}."


def _repeated_keys(root: yaml.Node) -> list[tuple[int | None, str]]:
    """Find keys that are there twice: YAML keeps the last one without a word; and aliases."""
    complaints: list[tuple[int | None, str]] = []
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            complaints.append((node.start_mark.line + 1, "anchors (&, *) are not used in rules."))
            return complaints
        if isinstance(node, yaml.MappingNode):
            seen.add(id(node))
            names: set[str] = set()
            for key, value in node.value:
                name = str(key.value)
                if name in names:
                    complaints.append((key.start_mark.line + 1, f"{name!r} is there twice."))
                names.add(name)
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            seen.add(id(node))
            waiting += node.value
    return sorted(complaints, key=lambda one: one[0] or 0)


def _complaints_about_order(read: _File, root: yaml.Node) -> list[tuple[int | None, str]]:
    complaints: list[tuple[int | None, str]] = []
    names: set[str] = set()
    taker: str | None = None
    for index, rule in enumerate(read.rules):
        line = _line_of(root, ("rules", index))
        if rule.name in names:
            complaints.append((line, f"two rules are named {rule.name!r}."))
        names.add(rule.name)
        if taker is not None:
            complaints.append(
                (
                    line,
                    f"rule {rule.name!r} never decides: {taker!r} above it takes every series.",
                )
            )
        elif rule.takes_everything:
            taker = rule.name
    return complaints


def _complaints_about_destinations(
    read: _File, root: yaml.Node, destinations: Collection[str]
) -> list[tuple[int | None, str]]:
    """Find destinations that there are not: results would wait for them in vain."""
    known = ", ".join(sorted(destinations)) or "none"
    complaints: list[tuple[int | None, str]] = []
    for index, rule in enumerate(read.rules):
        line = _line_of(root, ("rules", index, "destinations"))
        complaints += [
            (line, f"no destination is named {name!r} (CACSCORE_DESTINATIONS_FILE has: {known}).")
            for name in rule.destinations or ()
            if name not in destinations
        ]
    return complaints


def _line_of(root: yaml.Node, where: Sequence[int | str]) -> int | None:
    """Return the line (from 1) of what a location names, as far as the file has it."""
    node, line = root, root.start_mark.line
    for step in where:
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == step), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            if step >= len(node.value):
                break
            node = node.value[step]
            line = node.start_mark.line
    return line + 1


def _complaints(root: yaml.Node, error: ValidationError) -> list[tuple[int | None, str]]:
    errors = error.errors(include_url=False)
    places = [one["loc"] for one in errors]
    complaints = [
        (
            _line_of(root, one["loc"]),
            _sentence(one["loc"], one["type"], one["msg"], one["input"], one.get("ctx", {})),
        )
        for one in errors
        # A list is "too short" as well where one of its items is wrong.
        if not any(place[: len(one["loc"])] == one["loc"] != place for place in places)
    ]
    # A number of either kind is complained about once for each kind.
    return list(dict.fromkeys(complaints))


def _sentence(
    where: Sequence[int | str], kind: str, message: str, value: object, context: Mapping[str, Any]
) -> str:
    """Say what is wrong in words of the file and not of the program."""
    # pydantic names the members of a union; those are no places in the file.
    steps = [step for step in where if step not in ("int", "float")]
    path = ".".join(f"rule {step + 1}" if isinstance(step, int) else step for step in steps)
    path = path.removeprefix("rules.")
    if kind == "value_error":
        return f"{path}: {message.removeprefix('Value error, ').rstrip('.')}."
    conditions = ", ".join((*TEXT_FACTS, *NUMBER_FACTS, *FLAG_FACTS))
    block = "a number or a range" if where[-1] in NUMBER_FACTS else "a block of names and values"
    words = {
        "missing": "is missing",
        "string_type": f"must be text; put {value!r} in quotes",
        "bool_type": f"must be true or false, not {value!r}",
        "int_type": f"must be a number, not {value!r}",
        "float_type": f"must be a number, not {value!r}",
        "literal_error": f"must be {context.get('expected')}, not {value!r}",
        "string_pattern_mismatch": f"must be lower case letters, digits, - and _, not {value!r}",
        "model_type": f"must be {block}, not {value!r}",
        "tuple_type": f"must be a list, not {value!r}",
        "extra_forbidden": f"is not known; conditions are {conditions}"
        if {"when", "unless"} & set(where)
        else f"is not known; a rule has {', '.join(_Rule.model_fields)}",
    }
    return f"{path} {words.get(kind, message)}."
