#!/bin/sh
# Two builds in one target directory, one waiting for the other.
#
#   sh examples/builds.sh             needs `xsem` in PATH, or XSEM=/path/to/xsem, and cargo
set -eu
xsem=${XSEM:-xsem}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
XSEM_NAMESPACE=shm:$dir/namespace
export XSEM_NAMESPACE
cd "$dir"

mkdir src
printf '[package]\nname = "tiny"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n' > Cargo.toml
echo 'fn main() { println!("built"); }' > src/main.rs
# Long enough for the second to come while the first is at it.
echo 'fn main() { std::thread::sleep(std::time::Duration::from_secs(1)); }' > build.rs
CARGO_TARGET_DIR=$dir/target
export CARGO_TARGET_DIR

"$xsem" run cargo -- cargo build --offline --quiet &
first=$!
until "$xsem" show cargo 2> /dev/null | grep -q 'covers its command'; do
    sleep 0.05
done
"$xsem" run --verbose cargo -- cargo build --offline --quiet 2> second
wait "$first"
cat second
grep -q 'waiting for `cargo`: held by .*cargo build' second
[ "$(target/debug/tiny)" = built ]
echo "the second build waited for the first"
