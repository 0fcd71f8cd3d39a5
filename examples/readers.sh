#!/bin/sh
# Readers and writers of one file: any number of readers at a time, or one writer alone.
#
#   sh examples/readers.sh            needs `xsem` in PATH, or XSEM=/path/to/xsem
set -eu
xsem=${XSEM:-xsem}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
XSEM_NAMESPACE=shm:$dir/namespace
export XSEM_NAMESPACE
cd "$dir"

# Two lines that must always be the same; the writer changes them one after the other.
printf '0\n0\n' > config
cat > read <<'READ'
{ read -r first; sleep 0.01; read -r second; } < config
[ "$first" = "$second" ] || { echo "a reader saw $first and $second" >&2; exit 1; }
READ
cat > write <<'WRITE'
read -r n < config
echo $((n + 1)) > config
sleep 0.02
echo $((n + 1)) >> config
WRITE

# Two readers at one time: the one reads what the other one writes.
mkfifo meet
"$xsem" run --shared config -- sh -c 'read -r line < meet' &
meeting=$!
"$xsem" run --shared config -- sh -c 'echo here > meet'
wait "$meeting"

jobs=
for _ in 1 2 3 4 5 6 7 8; do
    (for _ in 1 2 3 4 5; do "$xsem" run --shared config -- sh read; done) &
    jobs="$jobs $!"
done
for _ in 1 2; do
    (for _ in 1 2 3; do "$xsem" run --all config -- sh write; done) &
    jobs="$jobs $!"
done

for job in $jobs; do
    wait "$job"
done

cat config
[ "$(cat config)" = "$(printf '6\n6')" ]
echo "six writes, forty reads, none of a half-written file"
