# The worker's image: compilers, and `rcache worker` that runs them for others.
#
#   docker build -t rcache-worker .
#   docker build -t rcache-worker --build-arg BASE=ubuntu:24.04 --build-arg COMPILERS="gcc g++" .
#   cargo build --release && docker build -t rcache-worker --target worker-prebuilt .
#
#   docker run -d -p 3632:3632 -e ALLOW=10.0.0.0/8 -e JOBS=8 rcache-worker
#
# The compilers must be the developers' own: a host whose compiler is another one is never used.

# Debian or Ubuntu, of the release that the developers have.
ARG BASE=debian:bookworm
# What builds rcache, unless it is there already; at least the rust-version of Cargo.toml.
ARG RUST=rust:1.91-bookworm

FROM ${BASE} AS compilers
# Package names; `gcc-13 g++-13` is found under these names only, `gcc g++` also under the short ones.
ARG COMPILERS="gcc g++ clang"
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ${COMPILERS} \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
 && useradd --system --uid 3632 --user-group --no-create-home --home-dir /tmp \
      --shell /usr/sbin/nologin rcache \
 && ln -s /opt/rcache/rcache /usr/local/bin/rcache
# As a number, for Kubernetes can't tell from a name that it isn't root.
USER 3632:3632
WORKDIR /tmp
# distcc's protocol, and metrics with health over HTTP.
EXPOSE 3632 3633
STOPSIGNAL SIGTERM
# Besides the options, the worker takes ALLOW (networks) and JOBS (slots) from the environment.
ENTRYPOINT ["rcache", "worker"]
CMD ["--metrics-port", "3633"]

# The binary is all that the last layer holds (with its licences): a new rcache is a small download.
# Builders that make every stage come through here without a binary, hence the pattern.
FROM compilers AS worker-prebuilt
COPY LICENSE-APACHE LICENSE-MIT target/*/release/rcach[e] /opt/rcache/

FROM ${RUST} AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin rcache

FROM compilers AS worker
COPY --from=build /source/LICENSE-APACHE /source/LICENSE-MIT /source/target/*/release/rcache \
     /opt/rcache/
