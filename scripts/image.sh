#!/bin/sh
# Makes the image IMAGE:VERSION-ARCH from a static binary: scripts/image.sh BINARY ARCH VERSION IMAGE
#
# Docker's classic builder makes images for its own architecture alone. Where
# there is no buildx, an image for another one is put together by hand, in the
# form that docker load takes.
set -eu
[ $# = 4 ] || { echo "usage: $0 BINARY ARCH VERSION IMAGE" >&2; exit 2; }
binary=$1 arch=$2 version=$3 tag=$4:$3-$2
cd "$(dirname "$0")/.."

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/cache"
cp "$binary" "$dir/skep"
chmod 0755 "$dir/skep" "$dir/cache" # not in the Dockerfile: the classic builder knows no COPY --chmod

if docker buildx version >/dev/null 2>&1; then
	docker buildx build -q --load --provenance=false --platform "linux/$arch" --build-arg "VERSION=$version" -t "$tag" -f Dockerfile "$dir" >/dev/null
elif [ "$arch" = "$(docker version --format '{{.Server.Arch}}')" ]; then
	docker build -q --build-arg "VERSION=$version" -t "$tag" -f Dockerfile "$dir" >/dev/null 2>"$dir/err" || { cat "$dir/err" >&2; exit 1; }
else
	mkdir -p "$dir/root/var/cache/skep" "$dir/root/run/skep" "$dir/image"
	cp "$dir/skep" "$dir/root/skep"
	tar -C "$dir/root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$dir/image/layer.tar" skep var run
	# of NAME: what the Dockerfile says of it
	of() { sed -n "s/^$1 //p" Dockerfile; }
	labels=$(of LABEL | sed -e "s/\${VERSION}/$version/" -e 's/^\([^=]*\)=/"\1":/' | paste -sd, -)
	cat >"$dir/image/config.json" <<-CONFIG
		{"architecture":"$arch","os":"linux","created":"$(date -u +%Y-%m-%dT%H:%M:%SZ)",
		"config":{"Entrypoint":$(of ENTRYPOINT),"Cmd":$(of CMD),"Labels":{$labels}},
		"rootfs":{"type":"layers","diff_ids":["sha256:$(sha256sum <"$dir/image/layer.tar" | cut -d' ' -f1)"]},
		"history":[{"created_by":"scripts/image.sh"}]}
	CONFIG
	echo "[{\"Config\":\"config.json\",\"RepoTags\":[\"$tag\"],\"Layers\":[\"layer.tar\"]}]" >"$dir/image/manifest.json"
	tar -C "$dir/image" -c manifest.json config.json layer.tar | docker load -q >/dev/null
fi
echo "$tag"
