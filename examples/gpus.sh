#!/bin/sh
# Four GPUs, ten trainings. Each takes one or two of them and is told which: XSEM_SLOTS. One training is killed in the
# middle; its GPUs go to the next ones.
#
#   sh examples/gpus.sh               needs `xsem` in PATH, or XSEM=/path/to/xsem
set -eu
xsem=${XSEM:-xsem}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
XSEM_NAMESPACE=shm:$dir/namespace
export XSEM_NAMESPACE
cd "$dir"

# A training claims each of its GPUs by making a directory, which fails if somebody else uses that GPU.
cat > train <<'TRAIN'
CUDA_VISIBLE_DEVICES=$XSEM_SLOTS
for gpu in $(echo "$CUDA_VISIBLE_DEVICES" | tr , ' '); do
    # What a killed training left: nobody has its slot, or we would not.
    if [ -e "gpu$gpu/killed" ]; then rm -r "gpu$gpu"; fi
    mkdir "gpu$gpu" || { echo "GPU $gpu is in use twice" >&2; exit 1; }
done
if [ "$1" = victim ]; then
    for gpu in $(echo "$CUDA_VISIBLE_DEVICES" | tr , ' '); do touch "gpu$gpu/killed"; done
    kill -9 $$
fi
sleep 0.1
for gpu in $(echo "$CUDA_VISIBLE_DEVICES" | tr , ' '); do rmdir "gpu$gpu"; done
echo "training $1 had GPU $CUDA_VISIBLE_DEVICES" >> done
TRAIN

jobs=
for i in 1 2 3 4 5 6 7 8 9 10; do
    "$xsem" run --limit 4 --permits $((i % 2 + 1)) gpu -- sh train "$i" &
    jobs="$jobs $!"
done
"$xsem" run --limit 4 gpu -- sh train victim 2> /dev/null || [ $? -eq 137 ]
for job in $jobs; do
    wait "$job"
done

sort -n -k2 done
[ "$(wc -l < done)" -eq 10 ]
"$xsem" show gpu
"$xsem" show gpu | grep -q '4 of 4 free'
echo "ten trainings, four GPUs, none used twice"
