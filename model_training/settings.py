"""Settings of a training run, read from a TOML file; every field has a default."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_type_hints

from calcium_scoring.model_input.spec import CORONARY_LABEL, ModelSpec
from model_training.augmentation import AugmentationConfig
from model_training.dataset import SamplingConfig
from model_training.losses import LossConfig
from model_training.network import NetworkConfig

CONFIGS: Final = Path(__file__).parent / "configs"
"""The settings that ship with the package, by name."""

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights are changed. The defaults are the paper's (section 3)."""

    kind: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.001
    schedule: Literal["exponential", "cosine"] = "exponential"
    """``exponential`` multiplies by ``decay_factor`` every ``decay_steps``; ``cosine`` falls to a
    hundredth at the last step."""
    decay_factor: float = 0.99
    decay_steps: int = 2000
    momentum: float = 0.9
    """Of SGD; AdamW keeps its own defaults."""
    weight_decay: float = 0.0
    warm_up_steps: int = 0
    """Steps over which the rate rises linearly from 0."""
    max_gradient_norm: float | None = None
    """Gradients are scaled down to this norm; None leaves them."""
    average_decay: float = 0.0
    """Decay of the moving average of the weights that is validated and exported; 0 is none."""


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that a run depends on besides its cases."""

    name: str = "paper"
    seed: int = 0
    epochs: int = 25
    """Paper, 3."""
    steps_per_epoch: int | None = None
    """None: as many crops an epoch as the training cases have slices (our choice)."""
    batch_size: int = 1
    """Paper, 3: one processed image for each iteration."""
    validation_crops: int = 64
    checkpoint_steps: int = 200
    """Steps between checkpoints and validations."""
    pixel_spacing_mm: float = 0.7
    labels: tuple[str, ...] = (CORONARY_LABEL,)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        if self.network.label_count != len(self.labels):
            raise ValueError(
                f"The network has {self.network.label_count} output channels for "
                f"{len(self.labels)} labels: {', '.join(self.labels)}."
            )
        if self.sampling.crop_size % self.network.size_multiple:
            raise ValueError(
                f"crop_size must be a multiple of {self.network.size_multiple}, "
                f"not {self.sampling.crop_size}."
            )

    def model_spec(self, *, model_version: str, is_provisional: bool = True) -> ModelSpec:
        """Return the specification of a model that was trained with these settings."""
        return ModelSpec(
            model_version=model_version,
            is_provisional=is_provisional,
            slice_count=self.network.slice_count,
            pixel_spacing_mm=self.pixel_spacing_mm,
            size_multiple=self.network.size_multiple,
            labels=self.labels,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as a checkpoint keeps them."""
        return asdict(self)


def read_training_config(name_or_path: str) -> TrainingConfig:
    """Read settings that ship with the package by name (``paper``), or any TOML file by path."""
    shipped = CONFIGS / f"{name_or_path}.toml"
    path = shipped if shipped.is_file() else Path(name_or_path)
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.toml")))
        raise ValueError(f"No settings {name_or_path!r}: neither a file nor one of {names}.")
    with path.open("rb") as stream:
        return training_config_from(tomllib.load(stream))


def training_config_from(values: Mapping[str, Any]) -> TrainingConfig:
    """Build settings from nested plain values; a name that is not known is an error."""
    return _build(TrainingConfig, values, "")


def _build(cls: type[Settings], values: Mapping[str, Any], path: str) -> Settings:
    hints = get_type_hints(cls)
    known = {item.name for item in fields(cls)}  # type: ignore[arg-type]  # a dataclass by call
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(
            f"Unknown settings {', '.join(path + name for name in unknown)}; "
            f"known are {', '.join(sorted(known))}."
        )
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        if is_dataclass(hints[name]):
            arguments[name] = _build(hints[name], value, f"{path}{name}.")
        else:
            arguments[name] = tuple(value) if isinstance(value, list) else value
    return cls(**arguments)
