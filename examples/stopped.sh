#!/bin/sh
# A stopped owner is alive: the others wait for it, and `xsem show` says that it is stopped. A stopped *waiter* is in
# nobody's way: everybody else goes on.
#
#   sh examples/stopped.sh            needs `xsem` in PATH, or XSEM=/path/to/xsem
set -eu
xsem=${XSEM:-xsem}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
XSEM_NAMESPACE=shm:$dir/namespace
export XSEM_NAMESPACE
cd "$dir"
shown() {
    "$xsem" show job | grep -q "$1"
}

# An owner, stopped.
mkfifo go
"$xsem" run job -- sh -c 'read line < go' &
owner=$!
until "$xsem" show job 2> /dev/null | grep -q "covers its command"; do sleep 0.05; done
kill -STOP "$owner"
until shown "held by .*stopped"; do sleep 0.05; done
if "$xsem" run -w 0.5 job -- true 2> said; then
    echo "somebody got past a stopped owner" >&2
    exit 1
fi
cat said

# A waiter, stopped, and others behind it.
"$xsem" run job -- true &
waiter=$!
until shown "waiting *1\. $waiter "; do sleep 0.05; done
kill -STOP "$waiter"
until shown "waiting *1\. $waiter .*stopped"; do sleep 0.05; done
"$xsem" show job
kill -CONT "$owner"
echo > go
wait "$owner"
for i in 1 2 3; do
    "$xsem" run job -- echo "run $i went past the stopped waiter"
done

kill -CONT "$waiter"
wait "$waiter"
echo "the waiter had its turn, too"
