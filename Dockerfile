# The image of Headroom: one binary on a base that has the C library, OpenSSL and nothing else. It has no shell.
#
#   docker build -t headroom --build-arg REVISION="$(git rev-parse HEAD)" .
#   docker build --target debug --output debug .       # the symbols of that binary, in debug/headroom.debug
#   docker build --target sbom --output sbom .         # what it is made of (CycloneDX), in sbom/headroom.cdx.json
#
# Two builds of one commit give the same binary: all paths and times in it are those of this file.
# A container keeps its data in /var/lib/headroom: on the embedded log this has to be a volume, on a cluster it may be empty
# at every start. To be called from outside it needs an address and a way to know its callers:
#
#   docker run --rm -v headroom:/var/lib/headroom headroom tokens new shop --roles checkout,viewer
#   docker run --read-only -v headroom:/var/lib/headroom -p 8080:8080 \
#     -e HEADROOM_LISTEN=0.0.0.0:8080 -e HEADROOM_AUTH=tokens headroom

FROM docker.io/library/rust:1.95-slim-bookworm AS build
# The Kafka client is built with make, its check of the system asks for a C++ compiler, and it needs OpenSSL.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libssl-dev make pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# C libraries write the time of their build into themselves.
ENV SOURCE_DATE_EPOCH=0 CARGO_TERM_COLOR=never

# The dependencies are a layer of their own. Only a change of the three files builds them again.
COPY Cargo.toml Cargo.lock ./
COPY loadtest/Cargo.toml loadtest/
RUN mkdir -p src tests/it loadtest/src \
    && touch src/lib.rs tests/it/main.rs \
    && echo 'fn main() {}' >src/main.rs \
    && cp src/main.rs loadtest/src/main.rs \
    && cargo build --release --locked --package headroom --features parquet

COPY topics topics
COPY schemas schemas
COPY src src
# Cargo goes by times: what was copied may be older than the empty files that it has built.
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked --package headroom --features parquet \
    && mkdir -p /out/data \
    && objcopy --only-keep-debug target/release/headroom /out/headroom.debug \
    && objcopy --strip-all --add-gnu-debuglink=/out/headroom.debug target/release/headroom /out/headroom

FROM scratch AS debug
COPY --from=build /out/headroom.debug /

FROM build AS bill
RUN cargo install --locked --debug --root /tools cargo-cyclonedx@0.5.9 \
    && /tools/bin/cargo-cyclonedx cyclonedx --format json --spec-version 1.5

FROM scratch AS sbom
COPY --from=bill /build/headroom.cdx.json /

FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.3.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Headroom" \
      org.opencontainers.image.description="Capacity reservation that never overbooks" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /out/headroom /usr/local/bin/headroom
COPY --from=build --chown=65532:65532 /out/data /var/lib/headroom
ENV HEADROOM_DATA_DIR=/var/lib/headroom
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/headroom"]
CMD ["serve"]
