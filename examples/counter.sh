#!/bin/sh
# 40 shells at once, each adds 1 to a file 25 times. Without a semaphore they overwrite each other's sums;
# with one, the file ends at exactly 1000.
#
#   sh examples/counter.sh            needs `xsem` in PATH, or XSEM=/path/to/xsem
set -eu
xsem=${XSEM:-xsem}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
# A namespace of its own, so that nothing is left behind.
XSEM_NAMESPACE=shm:$dir/namespace
export XSEM_NAMESPACE

echo 0 > f
shells=
for _ in $(seq 40); do
    (
        for _ in $(seq 25); do
            "$xsem" run counter -- sh -c 'read a < f; echo $((a+1)) > f'
        done
    ) &
    shells="$shells $!"
done
for shell in $shells; do
    wait "$shell"
done

read -r sum < f
echo "40 shells x 25 = $sum"
[ "$sum" -eq 1000 ]
