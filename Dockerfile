# Kairos' own image: every `kairos` command. Kafka and ClickHouse have images of their own
# (docker-compose.yml); nothing here runs Java.

FROM python:3.11.14-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/kairos
WORKDIR /src
# The lock alone first: this layer is built anew only when a dependency changes.
COPY requirements.lock ./
RUN /opt/kairos/bin/pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY streams ./streams
COPY schemas ./schemas
COPY sinks ./sinks
COPY infra ./infra
RUN /opt/kairos/bin/pip install --no-deps --no-build-isolation .

FROM python:3.11.14-slim-bookworm
RUN groupadd --gid 10001 kairos \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/kairos kairos \
    && install -d -o kairos -g kairos -m 0700 /var/lib/kairos
COPY --from=build /opt/kairos /opt/kairos
ENV PATH=/opt/kairos/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    KAIROS_HOME=/var/lib/kairos \
    NUMBA_CACHE_DIR=/var/lib/kairos/compiled
WORKDIR /var/lib/kairos
VOLUME /var/lib/kairos
USER 10001:10001
# Healthy while the broker answers; docker-compose.yml asks each service something of its own.
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=3 \
    CMD ["kairos", "doctor", "--only", "broker"]
ENTRYPOINT ["kairos"]
CMD ["--help"]
