"""The network that fine-tuning starts from: a model file of the service, or a checkpoint.

A model file holds every weight under its own name, since nothing was folded when it was written
(:mod:`model_training.export_onnx`), but not the settings of its network. Those are the shipped ones
whose weights have these names and shapes, and the network made of them must answer as the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from calcium_scoring.model_input.spec import ModelSpec
from model_training.export_onnx import (
    MAX_PROBABILITY_DIFFERENCE,
    heart_finder_of,
    load_onnx,
    max_probability_difference,
)
from model_training.network import DenseRAUnet, NetworkConfig
from model_training.settings import CONFIGS, TrainingConfig, read_training_config
from model_training.train import load_checkpoint

_STORED_SUFFIX: Final = "_float16"
"""Ends the names of weights that a model file stores rounded."""
_COUNTER: Final = "num_batches_tracked"
"""Counts batches for a kind of average that is not used; a model file does not hold it."""


@dataclass(frozen=True)
class StartingPoint:
    """A trained network, its settings, and how it is fed.

    ``file`` is the model file that it came from, None for a checkpoint; ``heart_finder`` the file
    of the network that finds the heart, None where the whole scan is searched.
    """

    config: TrainingConfig
    weights: dict[str, Tensor]
    spec: ModelSpec
    file: Path | None = None
    heart_finder: bytes | None = None

    @property
    def network(self) -> DenseRAUnet:
        """The network itself, in evaluation mode."""
        network = DenseRAUnet(self.config.network)
        network.load_state_dict(self.weights)
        return network.eval()


def starting_point(path: Path, *, config: TrainingConfig | None = None) -> StartingPoint:
    """Read a model file (``.onnx``) or a checkpoint of a run (``.pt``).

    Parameters
    ----------
    path
        The file.
    config
        Settings of the network of a model file; None looks among the shipped ones.

    Raises
    ------
    ValueError
        If there is no such file, no shipped settings fit, or the network that is made of the
        weights does not answer as the file does.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path} to start from.")
    if path.suffix == ".pt":
        trained = load_checkpoint(path)
        spec = trained.config.model_spec(model_version=f"{trained.config.name}-{trained.step}")
        return StartingPoint(trained.config, dict(trained.network.state_dict()), spec)
    weights = weights_of_model_file(path)
    chosen = _fitting_config(weights) if config is None else config
    complete = _with_counters(weights, chosen.network)
    spec = load_onnx(path).spec
    point = StartingPoint(chosen, complete, spec, path, heart_finder_of(path))
    difference = max_probability_difference(point.network, path.read_bytes(), spec)
    if difference > MAX_PROBABILITY_DIFFERENCE:
        raise ValueError(
            f"The network made of the weights in {path.name} differs from the file by up to "
            f"{difference:.2e} in probability: the settings {chosen.name!r} are not its own. Name "
            "those it was trained with."
        )
    return point


def weights_of_model_file(path: Path) -> dict[str, Tensor]:
    """Return the weights in a model file by their names in the network, as float32."""
    weights = {}
    for tensor in onnx.load(path).graph.initializer:
        values = numpy_helper.to_array(tensor)
        if np.issubdtype(values.dtype, np.floating):
            name = tensor.name.removesuffix(_STORED_SUFFIX)
            weights[name] = torch.from_numpy(values.astype(np.float32))
    return weights


def _fitting_config(weights: dict[str, Tensor]) -> TrainingConfig:
    shapes = {name: tuple(values.shape) for name, values in weights.items()}
    # Most likely first; several settings may share a network.
    names = sorted(
        (file.stem for file in CONFIGS.glob("*.toml")), key=lambda name: name != "bundled"
    )
    for name in names:
        config = read_training_config(name)
        if _shapes_of(config.network) == shapes:
            return config
    raise ValueError(
        f"The weights fit none of the shipped settings ({', '.join(names)}); name the settings "
        "that the model was trained with, or start from its checkpoint."
    )


def _shapes_of(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    # Without memory for the weights: only their names and shapes are asked for.
    with torch.device("meta"):
        state = DenseRAUnet(config).state_dict()
    return {name: tuple(one.shape) for name, one in state.items() if not name.endswith(_COUNTER)}


def _with_counters(weights: dict[str, Tensor], config: NetworkConfig) -> dict[str, Tensor]:
    shapes = _shapes_of(config)
    if {name: tuple(one.shape) for name, one in weights.items()} != shapes:
        raise ValueError("The weights are those of another network than the settings describe.")
    with torch.device("meta"):
        names = list(DenseRAUnet(config).state_dict())
    return {name: weights.get(name, torch.zeros((), dtype=torch.long)) for name in names}
