# Offline training: PyTorch, phantoms, export to ONNX. Mount a folder of runs at /runs.
# Build from the root of the repository: docker build -f docker/training.Dockerfile .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# Whoever builds may name a package index of their own (such as that of a CUDA or CPU build of
# PyTorch): pip reads these from the environment.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_FIND_LINKS
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# The environment holds no pip: the one of the image installs into it.
RUN python -m venv --without-pip /opt/cacscore
WORKDIR /src
# Dependencies first, in a layer that a change of the code leaves alone.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY calcium_scoring/version.py calcium_scoring/version.py
RUN pip --python /opt/cacscore/bin/python install -c constraints.txt ".[training]"
COPY calcium_scoring calcium_scoring
COPY model_training model_training
RUN pip --python /opt/cacscore/bin/python install --no-deps --force-reinstall .

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="cacscore training" \
      org.opencontainers.image.description="Training of the calcium segmenter. Research use only." \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --user-group --create-home cacscore \
 && install -d -o cacscore -g cacscore /runs
COPY --from=build /opt/cacscore /opt/cacscore
# The official builds of ONNX Runtime send usage data to their maker otherwise.
ENV PATH=/opt/cacscore/bin:$PATH PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1
USER 10001:10001
WORKDIR /runs
VOLUME /runs
ENTRYPOINT ["python", "-m"]
CMD ["model_training.train", "--help"]
