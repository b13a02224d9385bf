# Worker of the pool `gpu`: runs scenes with ONNX Runtime's CUDA provider. Build from the project's root:
#   docker build --file infra/docker/gpu.Dockerfile --tag bevformer-gpu .
# The host needs NVIDIA's driver and container toolkit.
FROM python:3.11-slim-bookworm
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY pyproject.toml README.md /app/
COPY bevformer_lib /app/bevformer_lib
COPY tasks /app/tasks
COPY flows /app/flows
# The second one only adds the CUDA wheels of the version that pyproject.toml chose.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir --editable "/app[gpu]" "onnxruntime-gpu[cuda,cudnn]"
# CUDA and cuDNN come as wheels; ONNX Runtime finds them through the linker, whichever CUDA it was built for.
# Not grep --quiet: it ends at the first match, and ldconfig fails on the closed pipe.
RUN find /usr/local/lib/python3.11/site-packages/nvidia -type d -name lib > /etc/ld.so.conf.d/nvidia-wheels.conf \
    && ldconfig \
    && ldconfig -p | grep libcudnn.so > /dev/null
RUN useradd --uid 1000 --create-home worker \
    && install --directory --owner=worker --group=worker /var/lib/bevformer
USER 1000
ENV BEVFORMER_CACHE=/var/lib/bevformer/cache \
    HF_HOME=/var/lib/bevformer/hub \
    BEVFORMER_DEVICE=cuda \
    DO_NOT_TRACK=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /app
# No ENTRYPOINT: pools of type docker and kubernetes start a run with a command of their own.
CMD ["prefect", "worker", "start", "--type", "process", "--pool", "gpu"]
