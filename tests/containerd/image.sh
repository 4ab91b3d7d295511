#!/bin/sh
# Writes an image with a static busybox and nothing else, as a tar in the OCI layout, which
# `ctr images import` takes. No network is needed. usage: image.sh FILE
set -eu
file=$1
busybox=$(command -v busybox)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/rootfs/bin" "$work/rootfs/tmp" "$work/rootfs/proc" "$work/rootfs/dev" \
    "$work/rootfs/sys" "$work/rootfs/etc" "$work/layout/blobs/sha256"
cp "$busybox" "$work/rootfs/bin/busybox"
"$busybox" --list | while read -r name; do
    [ "$name" = busybox ] || ln -s busybox "$work/rootfs/bin/$name"
done

# Moves a file to where its digest says, and prints the descriptor.
blob() {
    digest=$(sha256sum "$1" | cut -d ' ' -f 1)
    size=$(stat -c %s "$1")
    mv "$1" "$work/layout/blobs/sha256/$digest"
    printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%d%s}' \
        "$2" "$digest" "$size" "${3:-}"
}

tar -C "$work/rootfs" --owner=0 --group=0 --numeric-owner -cf "$work/layer" .
diff=$(sha256sum "$work/layer" | cut -d ' ' -f 1)
layer=$(blob "$work/layer" layer.v1.tar)

case $(uname -m) in
    x86_64) architecture=amd64 ;;
    aarch64) architecture=arm64 ;;
    *) architecture=$(uname -m) ;;
esac
printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$architecture" "$diff" >"$work/config"
config=$(blob "$work/config" config.v1+json)

printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' \
    "$config" "$layer" >"$work/manifest"
manifest=$(blob "$work/manifest" manifest.v1+json \
    ',"annotations":{"org.opencontainers.image.ref.name":"latest","io.containerd.image.name":"test/busybox:latest"}')

printf '{"schemaVersion":2,"manifests":[%s]}' "$manifest" >"$work/layout/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$work/layout/oci-layout"
tar -C "$work/layout" -cf "$file" oci-layout index.json blobs
