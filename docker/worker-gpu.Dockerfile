# The worker on GPUs of NVIDIA, on a CUDA runtime with cuDNN 9 and a Debian or Ubuntu that has Python 3.11 or later.
# Build from the root of the repository: docker build -f docker/worker-gpu.Dockerfile .
ARG CUDA_IMAGE=nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04

FROM ${CUDA_IMAGE} AS build
# hadolint ignore=DL3008 # the versions are those of the base image that the builder names
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-pip python3-venv \
 && rm -rf /var/lib/apt/lists/*
# Options beyond a folder and SQLite, comma-separated.
ARG EXTRAS=postgresql,s3,tracing
# Whoever builds may name a package index of their own: pip reads these from the environment.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_FIND_LINKS
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# The environment holds no pip: the one of the image installs into it.
RUN python3 -m venv --without-pip /opt/cacscore
WORKDIR /src
# Dependencies first, in a layer that a change of the code leaves alone.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY calcium_scoring/version.py calcium_scoring/version.py
RUN python3 -m pip --python /opt/cacscore/bin/python install -c constraints.txt ".[worker-gpu${EXTRAS:+,$EXTRAS}]"
COPY calcium_scoring calcium_scoring
COPY service service
RUN python3 -m pip --python /opt/cacscore/bin/python install --no-deps --force-reinstall .

FROM ${CUDA_IMAGE}
LABEL org.opencontainers.image.title="cacscore GPU worker" \
      org.opencontainers.image.description="Coronary calcium scores from CT series. Research use only." \
      org.opencontainers.image.licenses="Apache-2.0"
# hadolint ignore=DL3008 # the versions are those of the base image that the builder names
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/*
# One user id in all images: gateway and worker share the data volume.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/cacscore cacscore \
 && install -d -o cacscore -g cacscore -m 0700 /var/lib/cacscore
COPY --from=build /opt/cacscore /opt/cacscore
# ORT_DISABLE_TELEMETRY: the official builds of ONNX Runtime send usage data to their maker otherwise.
# `docker stop` lets a running study finish for CACSCORE_WORKER_STOP_S (60 s), then hands it back to
# the queue; stop_grace_period must be longer.
ENV PATH=/opt/cacscore/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    CACSCORE_DATA_DIR=/var/lib/cacscore ORT_DISABLE_TELEMETRY=1 CACSCORE_ONNX_PROVIDERS=CUDAExecutionProvider \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
VOLUME /var/lib/cacscore
# Without --app: a ping needs none of the worker's code, and this runs every half minute.
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=3 \
  CMD ["sh", "-c", "celery --broker \"${CACSCORE_BROKER_URL:-$(cat \"$CACSCORE_SECRETS_DIR/cacscore_broker_url\")}\" inspect ping --destination celery@$(hostname) --timeout 10 >/dev/null"]
CMD ["python", "-m", "service.worker"]
