#!/bin/sh
# Puts Debian's real etcd and etcdctl (3.4) into the folder given, for the tests that compare
# with them. The packages are unpacked, not installed, so that no service is started.
# Usage: scripts/reference.sh DIR
set -eu
dir=$1
if [ -x "$dir/etcd" ] && [ -x "$dir/etcdctl" ]; then exit 0; fi
mkdir -p "$dir"

if [ -x /usr/bin/etcd ] && [ -x /usr/bin/etcdctl ] &&
    /usr/bin/etcd --version | grep -q '^etcd Version: 3\.4'; then
    ln -sf /usr/bin/etcd /usr/bin/etcdctl "$dir/"
    exit 0
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
if ! apt-get download -q etcd-server etcd-client; then
    sudo=""
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    $sudo apt-get update -q
    apt-get download -q etcd-server etcd-client
fi
for deb in ./*.deb; do dpkg -x "$deb" "$tmp/unpacked"; done
cp "$tmp/unpacked/usr/bin/etcd" "$tmp/unpacked/usr/bin/etcdctl" "$dir/"
if ! "$dir/etcd" --version | grep -q '^etcd Version: 3\.4'; then
    echo "error: the distribution's etcd is not 3.4; put one into $dir" >&2
    exit 1
fi
