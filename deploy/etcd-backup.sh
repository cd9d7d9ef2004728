#!/bin/sh
# Saves a snapshot of one etcd member under a name with the time, looks at it, and keeps the newest.
#
#   etcd-backup.sh DIRECTORY [KEEP]
#
# DIRECTORY must exist and should be on another disk than the data. KEEP is how many snapshots stay
# (default 7). Endpoint, certificates and user come from etcdctl's own variables, such as
# ETCDCTL_ENDPOINTS (exactly one endpoint), ETCDCTL_CACERT, ETCDCTL_CERT, ETCDCTL_KEY.
# ETCDCTL and ETCDUTL name the tools if they are not in PATH.
#
# Exit status: 0 saved; 1 the snapshot could not be saved; 2 it was saved but is damaged, and was
# removed; 3 another backup into this directory is running; 4 old snapshots could not be removed;
# 64 wrong arguments. Older snapshots are only removed after a new one was found to be whole.
set -u
umask 077

etcdctl=${ETCDCTL:-etcdctl}
etcdutl=${ETCDUTL:-etcdutl}

fail() {
    status=$1
    shift
    echo "etcd-backup: $*" >&2
    exit "$status"
}

[ $# -eq 1 ] || [ $# -eq 2 ] || fail 64 "usage: $0 DIRECTORY [KEEP]"
directory=$1
keep=${2:-7}
case $keep in
'' | *[!0-9]* | 0*) fail 64 "KEEP is a number from 1 on, not '$keep'" ;;
esac
[ -d "$directory" ] || fail 1 "$directory is not a directory"

# Held until this shell ends, however it ends.
exec 9>"$directory/.lock" || fail 1 "cannot write to $directory"
flock -n 9 || fail 3 "another backup into $directory is running"

# What an earlier run left when it was killed.
rm -f "$directory"/.saving-*

name=etcd-snapshot-$(date +%Y-%m-%d_%H_%M_%S).db
saving=$directory/.saving-$name
trap 'rm -f "$saving" "$saving.part"' EXIT
trap 'exit 1' HUP INT TERM

"$etcdctl" snapshot save "$saving" 9>&- || fail 1 "the snapshot could not be saved"
"$etcdutl" snapshot status "$saving" -w table 9>&- || fail 2 "the snapshot is damaged"
mv "$saving" "$directory/$name" && sync "$directory" || fail 1 "$directory/$name cannot be made"
echo "saved $directory/$name"

# The names sort by time; all but the last $keep go.
surplus=$(ls "$directory" | grep '^etcd-snapshot-.*\.db$' | sort -r | tail -n "+$((keep + 1))")
for old in $surplus; do
    rm "$directory/$old" || fail 4 "$directory/$old cannot be removed"
    echo "removed $directory/$old"
done
