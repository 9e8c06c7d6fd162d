# syntax=docker/dockerfile:1
# The image holds the binary, the libraries that it links, certificates, the rules, and nothing else: no shell.
# What lies where is decided by deploy/image/layout.sh, which a test runs without any container engine.

FROM rust:1.95-bookworm AS build
WORKDIR /warren
COPY . .
RUN cargo build --release --locked --bin warren
RUN deploy/image/layout.sh /image target/release/warren

FROM scratch
COPY --from=build /image /
COPY --from=build --chown=10001:10001 /image/var/lib/warren /var/lib/warren
USER 10001:10001
WORKDIR /var/lib/warren
EXPOSE 8080 8081
ENTRYPOINT ["/usr/local/bin/warren"]
CMD ["supervise", "--config", "/etc/warren/warren.toml"]
