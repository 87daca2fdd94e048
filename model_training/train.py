"""The training loop: resumable, deterministic by seed, on CPU or CUDA."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Subset
from torch.utils.tensorboard import SummaryWriter

from calcium_scoring.model_input.spec import ALL_LABELS
from model_training.augmentation import NO_AUGMENTATION
from model_training.cases import TrainingCase
from model_training.dataset import CropDataset, Patch
from model_training.losses import calcium_loss
from model_training.metrics import VoxelCounts
from model_training.network import DenseRAUnet, load_weights
from model_training.settings import TrainingConfig, training_config_from

logger = logging.getLogger(__name__)

CHECKPOINT: Final = "checkpoint.pt"
BEST_CHECKPOINT: Final = "best.pt"

LOG_STEPS: Final = 20
"""Steps between lines of the log and points in TensorBoard."""

COSINE_FLOOR: Final = 0.01
"""Part of the learning rate that is left at the last step of the cosine schedule."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and where its run stands."""

    config: TrainingConfig
    network: DenseRAUnet
    step: int
    validation_f1: float


def train(
    config: TrainingConfig,
    *,
    cases: Sequence[TrainingCase],
    validation_cases: Sequence[TrainingCase],
    run_folder: Path,
    device: str = "cpu",
    worker_count: int = 1,
    initial_weights: Mapping[str, Tensor] | None = None,
    after_checkpoint: Callable[[int], None] | None = None,
) -> Checkpoint:
    """Train a network, or go on where the checkpoint in ``run_folder`` stands.

    Writes ``checkpoint.pt`` (everything needed to go on), ``best.pt`` (the best validation F1 so
    far) and TensorBoard events into ``run_folder``. Crops are cut by ``worker_count`` processes
    ahead of the network; with 0 in this process. The same settings, cases and seed give the same
    crops whatever the number of workers, also after going on. A new run starts from
    ``initial_weights`` where they are given (:func:`load_weights`). ``after_checkpoint`` is told
    the step of each checkpoint that was written.

    Raises
    ------
    ValueError
        If ``run_folder`` holds a checkpoint of other settings.
    """
    run = _Run(
        config, _total_steps(config, cases), run_folder, torch.device(device), initial_weights
    )
    crops = CropDataset(
        cases,
        config.model_spec(model_version="training"),
        config.sampling,
        config.augmentation,
        seed=config.seed,
        length=run.total_steps * config.batch_size,
    )
    validation = _validation_batches(config, validation_cases)
    remaining = Subset(crops, range(run.step * config.batch_size, len(crops)))
    batches = DataLoader(
        remaining,
        batch_size=config.batch_size,
        num_workers=worker_count,
        prefetch_factor=8 if worker_count else None,
        pin_memory=run.device.type == "cuda",
    )
    with SummaryWriter(log_dir=str(run_folder)) as writer:
        started, first = time.perf_counter(), run.step
        for batch in batches:
            scalars = run.train_step(batch)
            if run.step % LOG_STEPS == 0:
                steps_per_second = (run.step - first) / (time.perf_counter() - started)
                _report(writer, run, {**scalars, "steps_per_second": steps_per_second})
            if run.step % config.checkpoint_steps == 0 or run.step == run.total_steps:
                run.validate_and_save(validation, writer)
                if after_checkpoint is not None:
                    after_checkpoint(run.step)
                # Validation is not part of the pace of training.
                started, first = time.perf_counter(), run.step
    return run.checkpoint()


def load_checkpoint(path: Path, device: str = "cpu") -> Checkpoint:
    """Read the weights that are validated and exported (the average where one is kept)."""
    try:
        stored = torch.load(path, map_location=device, weights_only=True)
        config = training_config_from(stored["config"])
        network = DenseRAUnet(config.network).to(device)
        network.load_state_dict(stored["exported_weights"])
    except (OSError, EOFError, KeyError, RuntimeError, ValueError, UnpicklingError) as error:
        raise ValueError(f"{path} is no checkpoint of this version: {error}") from error
    return Checkpoint(config, network.eval(), int(stored["step"]), float(stored["validation_f1"]))


class _Run:
    """The state of a run that changes from step to step."""

    def __init__(
        self,
        config: TrainingConfig,
        total_steps: int,
        folder: Path,
        device: torch.device,
        initial_weights: Mapping[str, Tensor] | None,
    ) -> None:
        self.config = config
        self.total_steps = total_steps
        self.folder = folder
        self.device = device
        self.step = 0
        self.validation_f1 = 0.0
        self.best_f1 = -1.0
        torch.manual_seed(config.seed)
        self.network = DenseRAUnet(config.network).to(device)
        if initial_weights is not None:
            load_weights(self.network, initial_weights)
        # A training step on a CPU takes about a quarter less time with channels last.
        torch.nn.utils.convert_conv2d_weight_memory_format(self.network, torch.channels_last)
        self.optimizer = _optimizer(self.network, config)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, config, total_steps)
        )
        self.average = _moving_average(self.network, config.optimizer.average_decay)
        self.amp_dtype = _amp_dtype(device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.amp_dtype is torch.float16)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CHECKPOINT).is_file():
            self._resume(torch.load(folder / CHECKPOINT, map_location=device, weights_only=True))

    @property
    def exported_network(self) -> DenseRAUnet:
        """The network that is validated and exported."""
        if self.average is None:
            return self.network
        return cast("DenseRAUnet", self.average.module)

    def train_step(self, batch: Patch) -> dict[str, float]:
        """Learn from one batch and return what it cost."""
        self.network.train()
        with torch.autocast(
            self.device.type, self.amp_dtype, enabled=self.amp_dtype is not torch.float32
        ):
            logits = self.network(_ct_patch(batch, self.device))
        parts = calcium_loss(
            logits,
            batch["reference"].to(self.device, non_blocking=True),
            batch["is_counted"].to(self.device, non_blocking=True),
            self.config.loss,
            batch["kind"].to(self.device, non_blocking=True),
        )
        if not torch.isfinite(parts.total):
            raise FloatingPointError(
                f"The loss is {float(parts.total.detach())} at step {self.step}; the last "
                f"checkpoint in {self.folder} is intact. Lower the learning rate."
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(parts.total).backward()  # type: ignore[no-untyped-call]
        limit = self.config.optimizer.max_gradient_norm
        if limit is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.step += 1
        scalars = {"loss": parts.total, "bootstrap_loss": parts.bootstrap}
        if parts.iou is not None:
            scalars["iou_loss"] = parts.iou
        if parts.kind is not None:
            scalars["kind_loss"] = parts.kind
        return {name: float(value.detach()) for name, value in scalars.items()}

    def validate_and_save(self, batches: Sequence[Patch], writer: SummaryWriter) -> None:
        """Measure the F1 on held-out crops and write the checkpoints."""
        counts, kind_recall = crop_agreement(self.exported_network, batches, self.device)
        self.validation_f1 = counts.f1
        writer.add_scalar("validation_f1", counts.f1, self.step)
        writer.add_scalar("validation_precision", counts.precision, self.step)
        writer.add_scalar("validation_sensitivity", counts.sensitivity, self.step)
        logger.info(
            "step %d: F1 %.3f on held-out crops (precision %.3f, sensitivity %.3f); kinds: %s",
            self.step,
            counts.f1,
            counts.precision,
            counts.sensitivity,
            ", ".join(f"{name} {recall:.2f}" for name, recall in kind_recall.items()) or "none",
        )
        for name, recall in kind_recall.items():
            writer.add_scalar(f"validation_recall/{name}", recall, self.step)
        is_best = counts.f1 > self.best_f1
        self.best_f1 = max(self.best_f1, counts.f1)
        state = self._state()
        for name in (CHECKPOINT, BEST_CHECKPOINT) if is_best else (CHECKPOINT,):
            # Renamed when complete: a run that is ended while writing keeps its last checkpoint.
            unfinished = self.folder / f"{name}.unfinished"
            torch.save(state, unfinished)
            unfinished.replace(self.folder / name)

    def checkpoint(self) -> Checkpoint:
        """Return the network as it stands."""
        return Checkpoint(self.config, self.exported_network.eval(), self.step, self.validation_f1)

    def _state(self) -> dict[str, Any]:
        return {
            "config": self.config.as_dict(),
            "total_steps": self.total_steps,
            "step": self.step,
            "validation_f1": self.validation_f1,
            "best_f1": self.best_f1,
            "weights": self.network.state_dict(),
            "exported_weights": self.exported_network.state_dict(),
            "averaged_steps": None if self.average is None else int(self.average.n_averaged),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def _resume(self, stored: Mapping[str, Any]) -> None:
        if (
            training_config_from(stored["config"]) != self.config
            or stored["total_steps"] != self.total_steps
        ):
            raise ValueError(
                f"{self.folder} holds a run with other settings, or other cases that make an "
                "epoch of another length; use a new folder or the same settings."
            )
        self.step = int(stored["step"])
        self.validation_f1 = float(stored["validation_f1"])
        self.best_f1 = float(stored["best_f1"])
        self.network.load_state_dict(stored["weights"])
        if self.average is not None:
            self.exported_network.load_state_dict(stored["exported_weights"])
            self.average.n_averaged.fill_(stored["averaged_steps"])
        self.optimizer.load_state_dict(stored["optimizer"])
        self.scheduler.load_state_dict(stored["scheduler"])
        self.scaler.load_state_dict(stored["scaler"])
        logger.info("going on at step %d of %d", self.step, self.total_steps)


@torch.no_grad()
def crop_agreement(
    network: nn.Module, batches: Sequence[Patch], device: torch.device, threshold: float = 0.5
) -> tuple[VoxelCounts, dict[str, float]]:
    """Compare network and reference on the dense voxels of some crops.

    Returns the counts of coronary calcium, and for each kind that the reference names the part of
    its pixels that the network names so; empty for a network that names none.
    """
    network.eval()
    counts = VoxelCounts(0, 0, 0)
    right: Counter[str] = Counter()
    known: Counter[str] = Counter()
    for batch in batches:
        logits = network(_ct_patch(batch, device)).cpu()
        found = (torch.sigmoid(logits[:, :1]) >= threshold) & batch["is_dense"]
        calcium = (batch["reference"] > 0.5) & batch["is_dense"]
        counts += VoxelCounts.of(found.numpy(), calcium.numpy())
        if logits.shape[1] > 1:
            named = logits[:, 1:].argmax(dim=1)
            for number, label in enumerate(ALL_LABELS[1:]):
                of_kind = batch["kind"] == number
                known[label] += int(of_kind.sum())
                right[label] += int((of_kind & (named == number)).sum())
    return counts, {label: right[label] / count for label, count in known.items() if count}


def learning_rate_factor(step: int, config: TrainingConfig, total_steps: int) -> float:
    """Return the part of the learning rate that is used at a step."""
    optimizer = config.optimizer
    warm_up = min(1.0, (step + 1) / optimizer.warm_up_steps) if optimizer.warm_up_steps else 1.0
    if optimizer.schedule == "exponential":
        return warm_up * optimizer.decay_factor ** (step // optimizer.decay_steps)
    part = min(1.0, step / max(1, total_steps))
    return warm_up * (COSINE_FLOOR + (1.0 - COSINE_FLOOR) * 0.5 * (1.0 + math.cos(math.pi * part)))


def _total_steps(config: TrainingConfig, cases: Sequence[TrainingCase]) -> int:
    steps = config.steps_per_epoch
    if steps is None:
        steps = math.ceil(sum(case.hu.shape[0] for case in cases) / config.batch_size)
    return config.epochs * steps


def _optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    settings = config.optimizer
    if settings.kind == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
    return torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )


def _moving_average(network: nn.Module, decay: float) -> AveragedModel | None:
    if not decay:
        return None

    def blend(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():
            return current
        # Early on the average is short, or it would remember the untrained weights.
        usable = min(decay, (1.0 + float(count)) / (10.0 + float(count)))
        return averaged.lerp(current, 1.0 - usable)

    return AveragedModel(network, avg_fn=blend, use_buffers=True)


def _validation_batches(config: TrainingConfig, cases: Sequence[TrainingCase]) -> list[Patch]:
    if not cases:
        raise ValueError("Training needs at least one validation case.")
    crops = CropDataset(
        cases,
        config.model_spec(model_version="training"),
        config.sampling,
        NO_AUGMENTATION,
        seed=config.seed,
        length=config.validation_crops,
    )
    return list(DataLoader(crops, batch_size=8))


def _ct_patch(batch: Patch, device: torch.device) -> Tensor:
    return batch["ct_patch"].to(device, non_blocking=True, memory_format=torch.channels_last)


def _amp_dtype(device: torch.device) -> torch.dtype:
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _report(writer: SummaryWriter, run: _Run, scalars: Mapping[str, float]) -> None:
    learning_rate = run.scheduler.get_last_lr()[0]
    for name, value in {**scalars, "learning_rate": learning_rate}.items():
        writer.add_scalar(name, value, run.step)
    logger.info(
        "step %d/%d: %s",
        run.step,
        run.total_steps,
        ", ".join(f"{name} {value:.3f}" for name, value in scalars.items()),
    )
