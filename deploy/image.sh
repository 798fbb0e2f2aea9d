#!/usr/bin/env bash
# Wraps the static binary ./shard-cache (made by `make build`) into the image shard-cache:latest. Nothing is pulled: the
# image starts FROM scratch and holds the binary, /tmp and the names of a user that is not root.
#   SHARD_CACHE_IMAGE   name of the image (default shard-cache:latest)
#   SHARD_CACHE_BINARY  another binary than ./shard-cache
set -euo pipefail
cd "$(dirname "$0")/.."

image=${SHARD_CACHE_IMAGE:-shard-cache:latest}
binary=${SHARD_CACHE_BINARY:-./shard-cache}
readonly bytes_max=$((40 * 1000 * 1000))

fail() {
    echo "$1" >&2
    exit 1
}

[ -x "$binary" ] || fail "$binary is missing: make build"
command -v docker >/dev/null || fail "docker is missing; the node itself does not need it: make build"
docker info >/dev/null 2>&1 || fail "no Docker engine answers: is it running, and may you use it?"
if readelf --program-headers "$binary" 2>/dev/null | grep --quiet INTERP; then
    fail "$binary is linked dynamically, so it cannot run FROM scratch: install your C library's static files
(Debian has them in libc6-dev, Fedora in glibc-static), or let Docker compile: docker build -f deploy/Dockerfile ."
fi

stage=$(mktemp -d "${TMPDIR:-/tmp}/shard-cache-image.XXXXXX")
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage/root/tmp" "$stage/root/etc"
# Symbols stay for profiles; line tables would double the image.
strip --strip-debug -o "$stage/root/shard-cache" "$binary"
echo 'nonroot:x:65532:65532::/tmp:/shard-cache' >"$stage/root/etc/passwd"
echo 'nonroot:x:65532:' >"$stage/root/etc/group"
chmod 755 "$stage/root" "$stage/root/etc" "$stage/root/shard-cache"
chmod 644 "$stage/root/etc/passwd" "$stage/root/etc/group"
chmod 1777 "$stage/root/tmp"
# An archive keeps the modes that copying file by file would lose; without times and owners it is the same every time.
tar --create --file "$stage/root.tar" --directory "$stage/root" --sort=name --owner=0 --group=0 --numeric-owner \
    --mtime=@0 .
cp deploy/prebuilt.Dockerfile "$stage/Dockerfile"
rm -rf "$stage/root"
docker build --quiet --tag "$image" "$stage" >/dev/null

bytes=$(docker image inspect --format '{{.Size}}' "$image")
echo "$image: $((bytes / 1000 / 1000)) MB"
[ "$bytes" -lt "$bytes_max" ] || fail "the image has $bytes bytes, the limit is $bytes_max"
