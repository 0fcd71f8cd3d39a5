#!/bin/sh
# Owners are killed while they work, and the work goes on: 5 shells run `rename.sh` 10 times each, while one owner after
# the other is killed with SIGKILL, now `xsem run` itself, now its command. At the end the number in the file is the
# number of renames done, and `xsem show` has counted the deaths.
#
#   sh examples/kills.sh              needs `xsem` in PATH, or XSEM=/path/to/xsem
set -eu
xsem=${XSEM:-xsem}
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
XSEM_NAMESPACE=shm:$dir/namespace
export XSEM_NAMESPACE
"$xsem" create ledger

echo 0 > "$dir/f"
shells=
for s in 1 2 3 4 5; do
    (
        for i in 1 2 3 4 5 6 7 8 9 10; do
            # Some of them are killed, which is the point.
            "$xsem" run ledger -- sh "$here/rename.sh" "$dir" "$s-$i" 2>> "$dir/said" || true
        done
    ) 2> /dev/null &
    shells="$shells $!"
done
for kill in 1 2 3 4 5; do
    sleep 0.1
    if [ $((kill % 2)) -eq 0 ]; then who='held by *'; else who='covers its command: '; fi
    pid=$("$xsem" show ledger | sed -n "s/.*$who\([0-9][0-9]*\) .*/\1/p")
    # It may be gone by now; then nobody is killed this time.
    [ -z "$pid" ] || kill -9 "$pid" 2> /dev/null || true
done
for shell in $shells; do
    wait "$shell"
done

renames=0
for made in "$dir"/made.*; do
    [ -e "$dir/next.${made##*/made.}" ] || renames=$((renames + 1))
done
read -r sum < "$dir/f"
sort -u "$dir/said"
"$xsem" show ledger
echo "$renames renames done, the file says $sum"
[ "$sum" -eq "$renames" ]
