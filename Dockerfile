# The image holds one static binary and nothing else. The binary is built outside (make image does both):
# the folder that is sent to the engine holds it as skep, and an empty folder cache.
# LABEL, ENTRYPOINT and CMD take one line each: scripts/image.sh reads them for architectures that the builder cannot make.
FROM scratch
ARG VERSION=dev
LABEL org.opencontainers.image.title="skep"
LABEL org.opencontainers.image.description="keeps a Docker Swarm as git says"
LABEL org.opencontainers.image.licenses="Apache-2.0"
LABEL org.opencontainers.image.version="${VERSION}"
COPY skep /skep
COPY cache /var/cache/skep
COPY cache /run/skep
ENTRYPOINT ["/skep"]
CMD ["run"]
