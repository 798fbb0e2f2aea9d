# The image around a static binary that was built beforehand. `make docker` stages root.tar beside this file.
FROM scratch
ADD root.tar /
USER 65532:65532
# All addresses, IPv6 included; which of them a node advertises is its own to say (SHARD_CACHE_ADVERTISE).
ENV SHARD_CACHE_BIND=::
EXPOSE 8080/tcp 8081/tcp 7946/tcp 7946/udp
# A node that leaves in order hands over what it owes: SIGTERM, and time for it (docker stop --time).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=2s --timeout=3s --start-period=30s --retries=3 CMD ["/shard-cache", "healthcheck"]
ENTRYPOINT ["/shard-cache"]
