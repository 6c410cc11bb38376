# One image for the manager and the agents: the program alone, statically linked.
# The agent programs the kernel over netlink, so there is no nft, no shell and no
# package in it. The last stage is that image.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=v0.1.0 -t ghcr.io/tierwall/tierwall:v0.1.0 .
#
# It compiles on the building machine's own platform, whatever the image is for. Base
# images are pinned by the digest of their multi-platform index; the tag before it is
# for people. To renew one: docker buildx imagetools inspect TAG.
FROM --platform=$BUILDPLATFORM golang:1.26.5@sha256:3aff6657219a4d9c14e27fb1d8976c49c29fddb70ba835014f477e1c70636647 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETARCH
ARG VERSION=
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=linux GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X github.com/tierwall/tierwall/cmd.Version=$VERSION" -o /out/tierwall .

# For Tierwall/default with spec.dataplane IPTables, which takes the commands of
# iptables: docker build --target iptables, and name that image in spec.agent.image.
FROM debian:bookworm-20260610-slim@sha256:96e378d7e6531ac9a15ad505478fcc2e69f371b10f5cdf87857c4b8188404716 AS iptables
RUN apt-get update && apt-get install -y --no-install-recommends iptables && rm -rf /var/lib/apt/lists/*
COPY LICENSE /licenses/LICENSE
COPY --from=build /out/tierwall /usr/bin/tierwall
USER 65532:65532
ENTRYPOINT ["/usr/bin/tierwall"]

FROM scratch
LABEL org.opencontainers.image.title="Tierwall" \
      org.opencontainers.image.description="Tiered network policy for Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY LICENSE /licenses/LICENSE
COPY --from=build /out/tierwall /usr/bin/tierwall
# The manager runs as this user. The agents' DaemonSet takes root in name, with the
# one capability NET_ADMIN, which no other user could be given.
USER 65532:65532
ENTRYPOINT ["/usr/bin/tierwall"]
