#!/usr/bin/env bash
# Lays out the root file system of Warren's image.
#   layout.sh DEST BINARY
# DEST is made; BINARY is the built `warren`. Needs no privileges: owners are set by the image's build.
set -euo pipefail

if [[ $# -ne 2 ]]; then
    echo "usage: layout.sh DEST BINARY" >&2
    exit 2
fi
dest=$1
binary=$2
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
certificates=/etc/ssl/certs/ca-certificates.crt

mkdir -p "$dest"/{etc/ssl/certs,etc/warren/lua,usr/local/bin,var/lib/warren}
mkdir -p -m 1777 "$dest/tmp"

install -m 0755 "$binary" "$dest/usr/local/bin/warren"
install -m 0644 "$source/deploy/image/warren.toml" "$dest/etc/warren/warren.toml"
install -m 0644 "$source"/lua/*.lua "$dest/etc/warren/lua/"

# The libraries that the binary links, and the loader, at the very paths where the loader looks.
ldd "$binary" | grep -o '/[^ ]*' | sort -u | while read -r library; do
    mkdir -p "$dest$(dirname "$library")"
    install -m 0755 "$(readlink -f "$library")" "$dest$library"
done

# Who it runs as, and how names are resolved: files first, then DNS.
printf 'root:x:0:0::/:/sbin/nologin\nwarren:x:10001:10001::/var/lib/warren:/sbin/nologin\n' >"$dest/etc/passwd"
printf 'root:x:0:\nwarren:x:10001:\n' >"$dest/etc/group"
printf 'hosts: files dns\n' >"$dest/etc/nsswitch.conf"

if [[ ! -s $certificates ]]; then
    echo "layout.sh: $certificates is missing: install ca-certificates" >&2
    exit 1
fi
install -m 0644 "$certificates" "$dest$certificates"
