# Worker of the pool `cpu`: exports, calibrates, converts, reports. Build from the project's root:
#   docker build --file infra/docker/cpu.Dockerfile --tag bevformer-cpu .
FROM docker:28.5.1-cli AS docker

FROM python:3.11-slim-bookworm
# The converter runs as a sibling container, through the host's docker socket (infra/compose.yaml).
COPY --from=docker /usr/local/bin/docker /usr/local/bin/docker
# PyTorch from its own index: the one on the Python package index brings CUDA along.
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "torch==2.13.0"
COPY pyproject.toml README.md /app/
COPY bevformer_lib /app/bevformer_lib
COPY tasks /app/tasks
COPY flows /app/flows
RUN pip install --no-cache-dir --editable "/app[cpu]"
RUN useradd --uid 1000 --create-home worker \
    && install --directory --owner=worker --group=worker /var/lib/bevformer
USER 1000
# The converter's mounts are the host's paths, so scratch has to lie where host and container name it alike.
ENV BEVFORMER_CACHE=/var/lib/bevformer/cache \
    HF_HOME=/var/lib/bevformer/hub \
    TMPDIR=/var/lib/bevformer \
    DO_NOT_TRACK=1
WORKDIR /app
# No ENTRYPOINT: pools of type docker and kubernetes start a run with a command of their own.
CMD ["prefect", "worker", "start", "--type", "process", "--pool", "cpu"]
