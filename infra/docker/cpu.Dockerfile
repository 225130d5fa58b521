# syntax=docker/dockerfile:1.7
# docker build -f infra/docker/cpu.Dockerfile -t skeletonllm:cpu .
# docker build -f infra/docker/cpu.Dockerfile -t skeletonllm:serve --target serve .

FROM python:3.12.11-slim-bookworm AS base
ENV VIRTUAL_ENV=/opt/venv \
    PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    RAY_USAGE_STATS_ENABLED=0

FROM base AS build
RUN pip install --no-cache-dir uv==0.13.9 && uv venv /opt/venv
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
WORKDIR /opt/skeletonllm
# What it depends on changes seldom and is large: a layer of its own, made from the names alone.
# Not the project's own needs: Prefect's workers for Kubernetes and Docker; boto3, by which `ray up` starts AWS's machines.
COPY pyproject.toml ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --torch-backend=cpu -r pyproject.toml "prefect-kubernetes>=0.7,<1" "prefect-docker>=0.7,<1" "boto3>=1.35,<2"
COPY README.md LICENSE ./
COPY flows flows
COPY pipelines pipelines
COPY skeletonllm skeletonllm
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --no-deps -e . \
    && python -m compileall -q flows pipelines skeletonllm

FROM base AS runtime
# g++ compiles the rasteriser for the CPU that it finds, at first use; wget is what KubeRay's own probes call; rsync and a
# PATH for login shells are what `ray up` needs in a container.
RUN apt-get update \
    && apt-get install --no-install-recommends -y g++ rsync wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --shell /usr/sbin/nologin skeletonllm \
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

# A student behind an OpenAI-compatible address: docker run -p 127.0.0.1:8000:8000 -e SKELETONLLM_SERVE_KEY=... -v ...
FROM runtime AS serve
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD wget -q -O /dev/null http://127.0.0.1:8000/health || exit 1
CMD ["skeletonllm", "serve", "/work/student", "--host", "0.0.0.0", "--port", "8000"]

FROM runtime
