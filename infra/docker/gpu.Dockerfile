# syntax=docker/dockerfile:1.7
# docker build -f infra/docker/gpu.Dockerfile -t skeletonllm:gpu .
# docker build -f infra/docker/gpu.Dockerfile -t skeletonllm:serve-gpu --target serve .

# The compiler of CUDA comes along, for gsplat is compiled at first use; its version must be that of torch (13.0).
FROM nvidia/cuda:13.0.1-devel-ubuntu24.04 AS base
ENV VIRTUAL_ENV=/opt/venv \
    PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    RAY_USAGE_STATS_ENABLED=0
# python3-dev: what is compiled at first use needs Python's headers. wget is what KubeRay's own probes call; rsync and a PATH
# for login shells are what `ray up` needs in a container.
RUN apt-get update \
    && apt-get install --no-install-recommends -y g++ ninja-build python3 python3-dev python3-venv rsync wget \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
RUN python3 -m venv /opt/venv && pip install --no-cache-dir uv==0.13.9
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
WORKDIR /opt/skeletonllm
# What it depends on changes seldom and is large: a layer of its own, made from the names alone.
# Not the project's own needs: Prefect's workers for Kubernetes and Docker; boto3, by which `ray up` starts AWS's machines.
COPY pyproject.toml ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --torch-backend=cu130 -r pyproject.toml "prefect-kubernetes>=0.7,<1" "prefect-docker>=0.7,<1" "boto3>=1.35,<2"
COPY README.md LICENSE ./
COPY flows flows
COPY pipelines pipelines
COPY skeletonllm skeletonllm
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --no-deps -e . \
    && python -m compileall -q flows pipelines skeletonllm

FROM base AS runtime
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin skeletonllm \
    && install -d -o skeletonllm /work \
    && echo 'PATH=/opt/venv/bin:$PATH' >/etc/profile.d/skeletonllm.sh
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/skeletonllm /opt/skeletonllm
COPY infra /opt/skeletonllm/infra
ENV SKELETONLLM_HOME=/opt/skeletonllm
# Prefect's settings lie in pyproject.toml, so commands run where that is; what they make goes to /work.
WORKDIR /opt/skeletonllm
USER skeletonllm
VOLUME /work
ENTRYPOINT ["/opt/skeletonllm/infra/docker/join.sh"]
CMD ["skeletonllm", "doctor"]

# A student behind an OpenAI-compatible address: docker run --gpus all -p 127.0.0.1:8000:8000 -e SKELETONLLM_SERVE_KEY=...
FROM runtime AS serve
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=300s --retries=3 \
    CMD wget -q -O /dev/null http://127.0.0.1:8000/health || exit 1
CMD ["skeletonllm", "serve", "/work/student", "--host", "0.0.0.0", "--port", "8000"]

FROM runtime
