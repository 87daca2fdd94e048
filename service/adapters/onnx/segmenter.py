"""The network through ONNX Runtime: a model file that says itself how it is to be used."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from calcium_scoring.errors import ModelRejected
from calcium_scoring.model_input.heart_region import (
    HEART_FILE_KEY,
    HEART_INPUT_NAME,
    HEART_METADATA_KEY,
    HEART_OUTPUT_NAME,
    HeartSpec,
)
from calcium_scoring.model_input.preprocessing import ModelArray
from calcium_scoring.model_input.segmentation import (
    CalciumModel,
    HeartModel,
    Segmentation,
    segment_scan,
)
from calcium_scoring.model_input.spec import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelSpec
from calcium_scoring.model_input.tiling import Progress
from calcium_scoring.volume.ct_volume import CtVolume
from service.adapters.onnx.session import (
    CPU_PROVIDER,
    LOAD_ERRORS,
    ON_CUDA,
    BoundRun,
    open_session,
)
from service.application.engine import EngineIdentity
from service.application.errors import ModelUnavailable
from service.application.jobs import ModelIdentity


class OnnxSegmenter:
    """A Segmenter that runs one model file.

    Parameters
    ----------
    model_path
        ONNX file with its ModelSpec in the metadata.
    providers
        Execution providers, the preferred one first; the first that works is taken, and
        :attr:`providers` says which. None of them is an error: a CPU stands in for a GPU only
        where it is named.
    threads
        Threads within one operator; 0 lets the runtime take one a core.
    engine_cache
        Folder in which TensorRT keeps the engines that it builds; None builds them at each start.

    Raises
    ------
    ModelUnavailable
        The file is not there, or the runtime cannot load it with these providers.
    ModelRejected
        The file carries no ModelSpec, one of another version, or does not match its own.
    """

    def __init__(
        self,
        model_path: Path,
        *,
        providers: Sequence[str] = (CPU_PROVIDER,),
        threads: int = 0,
        engine_cache: Path | None = None,
    ) -> None:
        self._session = _open(model_path, providers, threads, engine_cache)
        self._spec = _read_spec(self._session)
        _check_tensors(self._session, self._spec)
        self._bound = (
            BoundRun(self._session, INPUT_NAME, OUTPUT_NAME, "cuda")
            if self.providers[0] in ON_CUDA
            else None
        )
        self._calcium_model = CalciumModel(
            self._spec, self.predict_patch, _heart_model(self._session, threads)
        )
        self._model = ModelIdentity(
            name=self._spec.model_name,
            version=self._spec.model_version,
            sha256=_sha256_of(model_path),
            is_provisional=self._spec.is_provisional,
        )

    @property
    def spec(self) -> ModelSpec:
        """What the network is fed and how its output is read."""
        return self._spec

    @property
    def model(self) -> ModelIdentity:
        """Which network it is."""
        return self._model

    @property
    def engine(self) -> EngineIdentity:
        """What the session really runs on."""
        return EngineIdentity("onnxruntime", onnxruntime.__version__, self.providers)

    @property
    def calcium_model(self) -> CalciumModel:
        """The networks that :meth:`segment` runs, and how they are fed."""
        return self._calcium_model

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that the session got, the one that runs the network first."""
        return tuple(self._session.get_providers())

    def segment(self, volume: CtVolume, progress: Progress | None = None) -> Segmentation:
        """Find the heart, then label its calcium slice by slice."""
        return segment_scan(volume, self._calcium_model, progress)

    def predict_patch(self, ct_patch: ModelArray) -> ModelArray:
        """``ct_patch`` (batch, slice, row, column) to ``calcium_logits`` (batch, label, ...)."""
        if self._bound is not None:
            return self._bound(ct_patch)
        (logits,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: np.ascontiguousarray(ct_patch)})
        result: ModelArray = np.asarray(logits, dtype=np.float32)
        return result


def _open(
    model_path: Path, providers: Sequence[str], threads: int, engine_cache: Path | None
) -> onnxruntime.InferenceSession:
    if not model_path.is_file():
        raise ModelUnavailable(
            f"There is no model file {model_path.name}; set CACSCORE_MODEL_PATH to the ONNX file."
        )
    try:
        return open_session(
            model_path, threads=threads, providers=providers, engine_cache=engine_cache
        )
    except LOAD_ERRORS as error:
        raise ModelUnavailable(
            f"ONNX Runtime cannot load {model_path.name}: the file is damaged, or made for another "
            "version."
        ) from error


def _read_spec(session: onnxruntime.InferenceSession) -> ModelSpec:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelRejected(
            f"The model file has no {METADATA_KEY!r} in its metadata; export it with "
            "`python -m model_training.export_onnx`."
        )
    return ModelSpec.from_json(text)


def _heart_model(session: onnxruntime.InferenceSession, threads: int) -> HeartModel | None:
    """Open the network that finds the heart, which travels inside the file of the other."""
    encoded = session.get_modelmeta().custom_metadata_map.get(HEART_FILE_KEY)
    if encoded is None:
        return None
    try:
        # Small enough for the CPU whatever the other network runs on.
        heart = open_session(base64.b64decode(encoded, validate=True), threads=threads)
    except (ValueError, *LOAD_ERRORS) as error:
        raise ModelRejected(
            "The network that finds the heart, inside the model file, cannot be loaded."
        ) from error
    spec = HeartSpec.from_json(
        heart.get_modelmeta().custom_metadata_map.get(HEART_METADATA_KEY, "")
    )

    def predict(ct_coarse: ModelArray) -> ModelArray:
        (logits,) = heart.run([HEART_OUTPUT_NAME], {HEART_INPUT_NAME: ct_coarse})
        return np.asarray(logits, dtype=np.float32)

    return HeartModel(spec, predict)


def _check_tensors(session: onnxruntime.InferenceSession, spec: ModelSpec) -> None:
    """Refuse a graph whose tensors are not the ones that its specification speaks of."""
    inputs = {tensor.name: tensor.shape for tensor in session.get_inputs()}
    outputs = {tensor.name: tensor.shape for tensor in session.get_outputs()}
    if set(inputs) != {INPUT_NAME} or set(outputs) != {OUTPUT_NAME}:
        raise ModelRejected(
            f"The model maps {sorted(inputs)} to {sorted(outputs)}; it must map "
            f"{INPUT_NAME!r} to {OUTPUT_NAME!r}."
        )
    slices, labels = inputs[INPUT_NAME][1], outputs[OUTPUT_NAME][1]
    if slices not in (spec.slice_count, None) and not isinstance(slices, str):
        raise ModelRejected(
            f"The model takes {slices} slices; its specification says {spec.slice_count}."
        )
    if labels not in (len(spec.labels), None) and not isinstance(labels, str):
        raise ModelRejected(
            f"The model gives {labels} labels; its specification names {len(spec.labels)}."
        )


def _sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
