# The gateway: takes uploads, answers, never computes; no inference stack inside.
# Build from the root of the repository: docker build -f docker/api.Dockerfile .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# Options beyond a folder and SQLite, comma-separated.
ARG EXTRAS=postgresql,s3,tracing
# Whoever builds may name a package index of their own: pip reads these from the environment.
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
# The distribution brings readers, decoders and writers of DICOM that only workers use.
RUN pip --python /opt/cacscore/bin/python install -c constraints.txt ".[api${EXTRAS:+,$EXTRAS}]" \
 && pip --python /opt/cacscore/bin/python uninstall -y highdicom nibabel pydicom \
      markdown-it-py mdurl pygments pyjpegls pylibjpeg pylibjpeg-openjpeg python-gdcm reportlab \
      rich typer \
 # Tests of NumPy and SciPy themselves: a tenth of what is left.
 && find /opt/cacscore/lib/python3*/site-packages/numpy /opt/cacscore/lib/python3*/site-packages/scipy \
      -depth -type d -name tests -exec rm -r {} +
COPY calcium_scoring calcium_scoring
COPY service service
RUN pip --python /opt/cacscore/bin/python install --no-deps --force-reinstall . \
 && /opt/cacscore/bin/python -P -c "from service.api.app import create_app; create_app().openapi(); import service.provision.__main__"

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="cacscore gateway" \
      org.opencontainers.image.description="Coronary calcium scores from CT series. Research use only." \
      org.opencontainers.image.licenses="Apache-2.0"
# One user id in all images: gateway and worker share the data volume.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/cacscore cacscore \
 && install -d -o cacscore -g cacscore -m 0700 /var/lib/cacscore
COPY --from=build /opt/cacscore /opt/cacscore
ENV PATH=/opt/cacscore/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    CACSCORE_DATA_DIR=/var/lib/cacscore
USER 10001:10001
VOLUME /var/lib/cacscore
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["uvicorn", "service.api.app:create_app", "--factory", \
     "--host", "0.0.0.0", "--port", "8000", "--no-access-log", "--no-server-header", \
     "--timeout-graceful-shutdown", "20", "--timeout-keep-alive", "75"]
