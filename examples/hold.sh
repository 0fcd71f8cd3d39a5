#!/bin/sh
# A script that owns a semaphore from one line on, without a command to wrap: what `exec 9> file; flock 9` is used for.
#
#   sh examples/hold.sh               needs `xsem` in PATH, or XSEM=/path/to/xsem
set -eu
xsem=${XSEM:-xsem}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
XSEM_NAMESPACE=shm:$dir/namespace
export XSEM_NAMESPACE xsem
cd "$dir"

# The script: it may change its mind in the middle, call others that need the same semaphore, and simply end.
cat > deploy <<'DEPLOY'
"$xsem" hold deploy || exit
echo "$1 begins" >> log
"$xsem" run deploy -- sh -c 'echo "'"$1"' uses it in a command of its own" >> log'
echo "$1 ends" >> log
[ "$1" != kills ] || kill -9 $$
[ "$1" != releases ] || "$xsem" release deploy
DEPLOY

jobs=
for how in ends releases kills; do
    sh deploy "$how" 2> /dev/null &
    jobs="$jobs $!"
done
for job in $jobs; do
    wait "$job" || [ $? -eq 137 ]
done

# This shell, too. The one that was killed has left its mark for somebody.
"$xsem" hold deploy 2>> said
cat log
# Three lines of each stand together, whoever was first.
for how in ends releases kills; do
    grep -A 2 "^$how begins" log | grep -q "^$how ends"
done
if "$xsem" run --namespace "shm:$dir/namespace" -n deploy -- true; then
    echo "this shell's own commands share it"
fi
"$xsem" show deploy
"$xsem" show deploy | grep -q "died .*xsem hold for"
"$xsem" ok deploy
"$xsem" release deploy
"$xsem" show deploy | grep -q 'free'
echo "each script had it alone"
