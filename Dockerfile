# Takes the place of the image of superfly/fly-autoscaler: the same entry point, command, path and port.
#
#   docker build --build-arg FAS_COMMIT=$(git rev-parse --short HEAD) -t fly-autoscaler .

FROM rust:1.95-alpine AS builder
# For ring, the one dependency with C in it, and for linking.
RUN apk add --no-cache gcc musl-dev
WORKDIR /build

# The dependencies alone, with stand-ins for our sources: this layer stays until a dependency changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches tests/it \
 && touch src/lib.rs \
 && for stand_in in src/main.rs benches/expression.rs tests/it/main.rs; do echo 'fn main() {}' > $stand_in; done \
 && cargo build --release --locked --bin fly-autoscaler

# Cargo compares times, and the copied files can be older than the stand-ins.
COPY src src
ARG FAS_COMMIT=
RUN touch src/lib.rs src/main.rs \
 && FAS_COMMIT=$FAS_COMMIT cargo build --release --locked --bin fly-autoscaler

# Alpine and not an empty image, so that `fly ssh console` finds a shell. The binary is static, and the root certificates
# are compiled in.
FROM alpine:3.22
RUN addgroup -S fly-autoscaler && adduser -S -D -H -G fly-autoscaler fly-autoscaler
COPY --from=builder /build/target/release/fly-autoscaler /usr/local/bin/fly-autoscaler
USER fly-autoscaler
EXPOSE 9090
ENTRYPOINT ["fly-autoscaler"]
CMD ["serve"]
