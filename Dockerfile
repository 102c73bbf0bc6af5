# Takes the place of the image of superfly/fly-autoscaler: the same entry point, command, path and port.
#
#   docker build --build-arg FAS_COMMIT="$(git rev-parse --short HEAD)" -t fly-autoscaler .

FROM rust:1.95-bookworm AS builder
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
# Cargo refuses a manifest whose benchmark is not there.
COPY benches benches
COPY src src
# Without it, `version` says that the commit is unknown.
ARG FAS_COMMIT
RUN cargo build --release --locked --bin fly-autoscaler

# With glibc, as in every test, and not an empty image, so that `fly ssh console` finds a shell. Root certificates and time
# zones are compiled in.
FROM debian:bookworm-slim
RUN useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin fly-autoscaler
COPY --from=builder /build/target/release/fly-autoscaler /usr/local/bin/fly-autoscaler
USER fly-autoscaler
EXPOSE 9090
ENTRYPOINT ["fly-autoscaler"]
CMD ["serve"]
