# SPDX-License-Identifier: Apache-2.0
# One static binary in an empty image. Works with the classic builder and with BuildKit.
FROM rust:1-bookworm AS build
# The toolchain is the image's; rust-toolchain.toml pins the one of development and is not copied.
ENV RUSTFLAGS="-C target-feature=+crt-static" CARGO_TERM_COLOR=never
WORKDIR /build
# The dependencies first: they are built again only when they change.
COPY Cargo.toml Cargo.lock ./
COPY protocol/Cargo.toml protocol/
COPY benches/counters benches/counters
COPY protocol/benches protocol/benches
COPY compat-tests/Cargo.toml compat-tests/
COPY races/Cargo.toml races/
RUN mkdir -p src protocol/src compat-tests/src races/src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs protocol/src/lib.rs \
 && echo 'fn main() {}' | tee compat-tests/src/main.rs > races/src/main.rs \
 && target="$(rustc -vV | sed -n 's/^host: //p')" && cargo build --release --locked --target "$target" -p ferrocket
COPY protocol protocol
COPY src src
RUN touch src/lib.rs src/main.rs protocol/src/lib.rs && target="$(rustc -vV | sed -n 's/^host: //p')" \
 && cargo build --release --locked --target "$target" -p ferrocket && cp "target/$target/release/ferrocket" /ferrocket
# Directories that belong to the user of the image, so that new volumes do too.
RUN mkdir -p /image/home/rocketmq/store /image/home/rocketmq/logs /image/home/rocketmq/namesrv /image/home/rocketmq/ferrocket-data /image/tmp \
 && chown -R 3000:3000 /image/home/rocketmq && chmod 1777 /image/tmp

FROM scratch
COPY --from=build /image/ /
COPY --from=build /ferrocket /ferrocket
COPY conf /home/rocketmq/conf
COPY LICENSE NOTICE /
# As in apache/rocketmq, so that its volumes stay writable.
USER 3000:3000
ENV HOME=/home/rocketmq
WORKDIR /home/rocketmq
# Name server, broker and the broker's VIP port.
EXPOSE 9876 10911 10909
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=3 CMD ["/ferrocket", "health"]
ENTRYPOINT ["/ferrocket"]
