#!/bin/sh
# Events: clients that wait until their server is up, and workers that sleep until there is work or everybody shall stop.
# One client and one worker are killed while they wait, which takes nothing away from the others.
#
#   sh examples/events.sh             needs `xsem` in PATH, or XSEM=/path/to/xsem
set -eu
xsem=${XSEM:-xsem}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
XSEM_NAMESPACE=shm:$dir/namespace
export XSEM_NAMESPACE xsem
cd "$dir"
waiting() {
    "$xsem" show "$1" | grep -q "waiting *$2\."
}

# A manual event: everybody goes on, those who come later as well. Whoever comes first creates it.
clients=
for c in 1 2 3; do
    sh -c '"$xsem" event wait -w 60 --create manual server/up && cat page >> got' &
    clients="$clients $!"
done
"$xsem" event wait -w 60 --create manual server/up &
victim=$!
until waiting server/up 4 2> /dev/null; do sleep 0.05; done
"$xsem" show server/up
kill -9 "$victim"
wait "$victim" 2> /dev/null || true
echo "it works" > page
"$xsem" event signal -v server/up
for client in $clients; do
    wait "$client"
done
[ "$(grep -c 'it works' got)" -eq 3 ]
"$xsem" event wait -n server/up && echo "a late client finds it up"

# An auto event: a signal wakes one worker. It says that there is work, not how much, so a worker looks until it finds none.
"$xsem" create --event auto work
"$xsem" create --event manual stop
mkdir queue taken
cat > worker <<'WORKER'
while :; do
    for job in queue/*; do
        # Another one may be faster.
        mv "$job" "taken/$1" 2> /dev/null || continue
        cat "taken/$1" >> done
    done
    # Work comes first, if there are both.
    [ "$("$xsem" event wait work stop)" = work ] || exit 0
done
WORKER
workers=
for w in 1 2 3; do
    sh worker "$w" &
    workers="$workers $!"
done
"$xsem" event wait work stop > killed &
victim=$!
until waiting work 4; do sleep 0.05; done
kill -9 "$victim"
wait "$victim" 2> /dev/null || true
for job in $(seq 20); do
    echo "job $job" > new
    mv new "queue/$job"
    "$xsem" event signal work
done
"$xsem" event signal stop
for worker in $workers; do
    wait "$worker"
done

sort -n -k2 done
[ "$(sort -u done | wc -l)" -eq 20 ]
[ "$(wc -l < done)" -eq 20 ]
[ ! -s killed ]
"$xsem" ls
echo "three clients served, twenty jobs done"
