# The engine server and the LiveKit agent in one image, without published weights.
#
#   docker build -t xtts-rtc .                                  CPU: the embedded voice as a bundle, no torch
#   docker build --build-arg RUNTIME=cuda -t xtts-rtc:cuda .    torch with CUDA; run it with --gpus all
#
# Writable are /srv/xtts-rtc/speakers, /var/cache/xtts-rtc and /tmp; the rest may be mounted read-only.

ARG RUNTIME=cpu
ARG PYTHON=3.12-slim-bookworm

FROM python:${PYTHON} AS packages
ARG RUNTIME
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /src
ENV PATH=/opt/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY requirements requirements
RUN case "$RUNTIME" in cpu) lock=runtime ;; cuda) lock=cuda ;; *) echo "RUNTIME is cpu or cuda" >&2; exit 2 ;; esac \
    && pip install --no-cache-dir --no-deps --require-hashes -r "requirements/$lock.lock"
COPY pyproject.toml README.md LICENSE ./
COPY xtts_rtc xtts_rtc
COPY livekit livekit
# The build back-end comes from the lock as well, and stays out of the image.
RUN python -m venv /opt/build \
    && awk '/^[a-z]/ {wanted = /^(hatchling|packaging|pathspec|pluggy|trove-classifiers)==/} wanted' \
        requirements/dev.lock > /opt/build/build.lock \
    && /opt/build/bin/pip install --no-cache-dir --no-deps --require-hashes -r /opt/build/build.lock \
    && /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /opt/build/wheels . \
    && pip install --no-cache-dir --no-deps --no-index /opt/build/wheels/*.whl

FROM packages AS bundle
# The embedded voice becomes graphs here, not at every first start.
RUN xtts-rtc convert xtts_rtc/assets/embedded -o /opt/bundle

FROM python:${PYTHON} AS base
RUN groupadd --gid 10001 voice \
    && useradd --uid 10001 --gid voice --no-create-home --home-dir /var/cache/xtts-rtc --shell /usr/sbin/nologin voice \
    && install -d -o voice -g voice /srv/xtts-rtc/speakers /var/cache/xtts-rtc
WORKDIR /srv/xtts-rtc
COPY --from=packages /opt/venv /opt/venv
COPY configs configs
COPY agent.py agent.py
COPY --chown=voice:voice speakers speakers
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/var/cache/xtts-rtc \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    XTTS_SPEAKERS_DIR=/srv/xtts-rtc/speakers \
    XTTS_CACHE_DIR=/var/cache/xtts-rtc \
    XTTS_OUTPUT_DIR=/var/cache/xtts-rtc/output \
    XTTS_LOG_FORMAT=json
VOLUME ["/srv/xtts-rtc/speakers", "/var/cache/xtts-rtc"]
USER 10001:10001
EXPOSE 8020
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8020/healthz', timeout=2)"]
ENTRYPOINT ["xtts-rtc"]
CMD ["serve", "--config", "configs/server.yaml", "--host", "0.0.0.0", "--port", "8020"]

FROM base AS engine-cpu
COPY --from=bundle /opt/bundle /opt/bundle
ENV XTTS_MODEL=/opt/bundle XTTS_DEVICE=cpu

FROM base AS engine-cuda
ENV XTTS_MODEL=embedded XTTS_DEVICE=cuda XTTS_BACKEND=torch

# hadolint ignore=DL3006
FROM engine-${RUNTIME}
