# Worker of the pool `edge` for a board (aarch64) that runs docker. Build from the project's root:
#   docker buildx build --platform linux/arm64 --file infra/docker/edge.Dockerfile --tag bevformer-edge .
# Boards without docker: infra/edge/install.sh. The NPU's device and libraries are the board's own; see docs/infra.md.
FROM python:3.11-slim-bookworm
ARG AXENGINE_WHEEL="https://github.com/AXERA-TECH/pyaxengine/releases/download/0.1.3.rc2/axengine-0.1.3-py3-none-any.whl"
COPY pyproject.toml README.md /app/
COPY bevformer_lib /app/bevformer_lib
COPY tasks /app/tasks
COPY flows /app/flows
# hadolint ignore=DL3013
RUN pip install --no-cache-dir --editable "/app[edge]" "$AXENGINE_WHEEL"
RUN useradd --uid 1000 --create-home worker \
    && install --directory --owner=worker --group=worker /var/lib/bevformer
USER 1000
ENV BEVFORMER_CACHE=/var/lib/bevformer/cache \
    HF_HOME=/var/lib/bevformer/hub \
    BEVFORMER_CACHE_GB=4 \
    DO_NOT_TRACK=1
WORKDIR /app
# No ENTRYPOINT: pools of type docker and kubernetes start a run with a command of their own. One board, one run.
CMD ["prefect", "worker", "start", "--type", "process", "--pool", "edge", "--limit", "1"]
