"""Train the HeartFinder: random poses, random grey values, random fields of view.

Simulated patients have the right anatomy and never quite the right grey values. The network is
therefore shown every patient with its tissues recoloured at random, so that shape and surroundings
are all it can go by.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Subset

from calcium_scoring.model_input.heart_region import HeartSpec, coarse_input
from calcium_scoring.volume.ct_volume import AIR_HU
from model_training.heart_finder.cases import HeartCase
from model_training.heart_finder.network import HeartFinder

logger = logging.getLogger(__name__)

CHECKPOINT: Final = "heart.pt"

LOG_STEPS: Final = 25

COLOUR_KNOTS_HU: Final = (-1000.0, -850.0, -500.0, -100.0, 40.0, 150.0, 1000.0)
COLOUR_SHIFTS_HU: Final = (20.0, 90.0, 120.0, 30.0, 25.0, 60.0, 200.0)
"""Standard deviations of the random shifts of air, lung, lung's edge, fat, soft tissue, faint and
dense bone; between them the shift is interpolated. Our choice."""


@dataclass(frozen=True)
class HeartTrainingConfig:
    """All our choice."""

    seed: int = 0
    steps: int = 1500
    batch_size: int = 2
    shape: tuple[int, int, int] = (32, 40, 40)
    """Of the volumes learned from, (slice, row, column) on the coarse grid."""
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    average_decay: float = 0.99
    max_rotation_degrees: float = 15.0
    max_scale_change: float = 0.2
    cut_part: float = 0.4
    """Part of the samples whose field of view is cut in-plane or along z, as in cardiac scans."""
    checkpoint_steps: int = 250


class HeartSamples(Dataset[tuple[Tensor, Tensor]]):
    """Random views of the cases; sample ``index`` is always the same for one seed."""

    def __init__(
        self, cases: Sequence[HeartCase], spec: HeartSpec, config: HeartTrainingConfig
    ) -> None:
        self._cases = cases
        self._spec = spec
        self._config = config

    def __len__(self) -> int:
        """Return the number of samples of the whole training."""
        return self._config.steps * self._config.batch_size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return ``ct_coarse`` and the part of each voxel that is heart, both (1, ...)."""
        rng = np.random.default_rng((self._config.seed, index))
        hu, heart = self._cases[int(rng.integers(len(self._cases)))].arrays
        hu, heart = _random_view(hu, heart, self._config, rng)
        hu, heart = _random_cut(_recoloured(hu, rng), heart, self._config, rng)
        return (
            torch.from_numpy(coarse_input(hu, self._spec)[0][np.newaxis]),
            torch.from_numpy(heart[np.newaxis]),
        )


def train_heart_finder(
    config: HeartTrainingConfig,
    *,
    spec: HeartSpec,
    cases: Sequence[HeartCase],
    validation_cases: Sequence[HeartCase],
    run_folder: Path,
    worker_count: int = 1,
) -> HeartFinder:
    """Train a network, or go on where ``heart.pt`` in the folder of the run stands."""
    torch.manual_seed(config.seed)
    network, average = HeartFinder(), HeartFinder()
    average.load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.01 + 0.495 * (1.0 + math.cos(math.pi * step / config.steps))
    )
    step = 0
    run_folder.mkdir(parents=True, exist_ok=True)
    path = run_folder / CHECKPOINT
    if path.is_file():
        stored = torch.load(path, weights_only=True)
        if stored["config"] != asdict(config):
            raise ValueError(f"{path} holds a run with other settings; use a new folder.")
        network.load_state_dict(stored["weights"])
        average.load_state_dict(stored["average"])
        optimizer.load_state_dict(stored["optimizer"])
        scheduler.load_state_dict(stored["scheduler"])
        step = int(stored["step"])
    samples = HeartSamples(cases, spec, config)
    batches = DataLoader(
        Subset(samples, range(step * config.batch_size, len(samples))),
        batch_size=config.batch_size,
        num_workers=worker_count,
        prefetch_factor=4 if worker_count else None,
    )
    started, first = time.perf_counter(), step
    for ct_coarse, heart in batches:
        network.train()
        loss = heart_loss(network(ct_coarse), heart)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()
        step += 1
        _blend(average, network, min(config.average_decay, step / (10.0 + step)))
        if step % LOG_STEPS == 0:
            pace = (step - first) / (time.perf_counter() - started)
            logger.info(
                "step %d/%d: loss %.3f, %.2f steps/s",
                step,
                config.steps,
                float(loss.detach()),
                pace,
            )
        if step % config.checkpoint_steps == 0 or step == config.steps:
            dice = [heart_dice(average, case, spec) for case in validation_cases]
            logger.info(
                "step %d: Dice %.3f on %d whole volumes, worst %.3f",
                step, float(np.mean(dice)), len(dice), min(dice),
            )  # fmt: skip
            state = {
                "config": asdict(config),
                "step": step,
                "weights": network.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
            }
            unfinished = path.with_suffix(".unfinished")
            torch.save(state, unfinished)
            unfinished.replace(path)
    return average.eval()


def load_heart_finder(path: Path) -> HeartFinder:
    """Read the averaged weights of a run."""
    network = HeartFinder()
    try:
        network.load_state_dict(torch.load(path, weights_only=True)["average"])
    except (OSError, EOFError, KeyError, RuntimeError, UnpicklingError) as error:
        raise ValueError(f"{path} is no checkpoint of the heart finder: {error}") from error
    return network.eval()


def heart_loss(heart_logits: Tensor, heart: Tensor) -> Tensor:
    """Cross entropy plus one minus soft Dice (Milletari et al. 2016)."""
    probability = torch.sigmoid(heart_logits)
    axes = (1, 2, 3, 4)
    overlap = (2.0 * (probability * heart).sum(axes) + 1.0) / (
        (probability + heart).sum(axes) + 1.0
    )
    entropy = functional.binary_cross_entropy_with_logits(heart_logits, heart)
    return entropy + (1.0 - overlap).mean()


@torch.no_grad()
def heart_dice(network: HeartFinder, case: HeartCase, spec: HeartSpec) -> float:
    """Dice overlap of the whole volume, as it is served."""
    network.eval()
    hu, heart = case.arrays
    ct_coarse, inner = coarse_input(hu, spec)
    found = network(torch.from_numpy(ct_coarse[np.newaxis, np.newaxis]))[0, 0]
    marked = found[inner].numpy() >= 0.0
    truth = heart >= 0.5
    total = int(marked.sum()) + int(truth.sum())
    return 2.0 * int((marked & truth).sum()) / total if total else 1.0


def _random_view(
    hu: NDArray[np.float32],
    heart: NDArray[np.float32],
    config: HeartTrainingConfig,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a rotated, scaled and shifted part of the volume of the shape learned from."""
    angles = np.radians(rng.uniform(-1.0, 1.0, 3) * config.max_rotation_degrees)
    limit = math.log1p(config.max_scale_change)
    matrix = np.diag(np.exp(rng.uniform(-limit, limit) + rng.normal(0.0, 0.06, 3)))
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        first, second = [other for other in range(3) if other != axis]
        turn[[first, second], [first, second]] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ turn
    shape = np.array(config.shape)
    where = np.argwhere(heart >= 0.5)
    # Anywhere near the heart, so that it is also seen at a border and now and then not at all.
    centre = where.mean(axis=0) if len(where) else np.array(hu.shape) / 2.0
    centre = centre + rng.uniform(-0.4, 0.4, 3) * shape
    offset = centre - matrix @ ((shape - 1) / 2.0)
    view, mask = np.empty(config.shape, np.float32), np.empty(config.shape, np.float32)
    for source, target, outside in ((hu, view, AIR_HU), (heart, mask, 0.0)):
        ndimage.affine_transform(
            source, matrix, offset, output_shape=config.shape, output=target,
            order=1, mode="constant", cval=outside, prefilter=False,
        )  # fmt: skip
    return view, mask


def _recoloured(hu: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    shifts = rng.normal(0.0, COLOUR_SHIFTS_HU) * rng.uniform(0.0, 1.3)
    knots = np.maximum.accumulate(np.array(COLOUR_KNOTS_HU) + shifts)
    changed = np.interp(hu, COLOUR_KNOTS_HU, knots)
    if rng.random() < 0.3:
        changed = ndimage.gaussian_filter(changed, rng.uniform(0.3, 0.9))
    return (changed + rng.normal(0.0, rng.uniform(0.0, 25.0), hu.shape)).astype(np.float32)


def _random_cut(
    hu: NDArray[np.float32],
    heart: NDArray[np.float32],
    config: HeartTrainingConfig,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the volume as a scan of a smaller field of view would show it: air outside.

    The heart ends there too: what was not scanned is not to be guessed.
    """
    if rng.random() >= config.cut_part:
        return hu, heart
    slices, rows, columns = hu.shape
    low, high = sorted(rng.uniform(0.0, slices, 2).astype(int))
    if high - low < slices // 3 or rng.random() < 0.4:
        low, high = 0, slices
    row, column = np.ogrid[:rows, :columns]
    middle = np.array([rows, columns]) / 2.0 + rng.uniform(-0.12, 0.12, 2) * rows
    radius = rng.uniform(0.3, 0.75) * rows
    inside = np.zeros(hu.shape, dtype=np.bool_)
    inside[low:high] = np.hypot(row - middle[0], column - middle[1]) <= radius
    return np.where(inside, hu, np.float32(AIR_HU)), np.where(inside, heart, np.float32(0.0))


def _blend(average: HeartFinder, network: HeartFinder, decay: float) -> None:
    with torch.no_grad():
        for mean, value in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(value, 1.0 - decay)
