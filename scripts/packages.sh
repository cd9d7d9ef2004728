#!/bin/sh
# Installs the Debian/Ubuntu packages that a build (and, with `test`, the tests) need.
# Does nothing when they are there already. Usage: scripts/packages.sh build|test
set -eu

build="gcc g++ make pkg-config libclang-dev protobuf-compiler"
test="e2fsprogs mount iproute2 curl"

want=$build
[ "${1:-build}" = test ] && want="$build $test"

missing=""
for p in $want; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' ||
        missing="$missing $p"
done

if ! command -v cargo >/dev/null 2>&1 && [ ! -x "$HOME/.cargo/bin/cargo" ]; then
    echo "error: cargo not found; install Rust with rustup first" >&2
    exit 1
fi

[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "error: missing packages:$missing (no apt-get here; install their equivalents)" >&2
    exit 1
fi
sudo=""
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "error: missing packages:$missing" >&2
        echo "       run as root: apt-get install -y$missing" >&2
        exit 1
    fi
    sudo=sudo
fi
echo "installing:$missing" >&2
$sudo apt-get update -q
# shellcheck disable=SC2086 # a word list
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends $missing
