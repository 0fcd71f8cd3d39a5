#!/bin/sh
# The same user from a login shell, from cron, and from an environment with next to nothing in it: one namespace.
#
#   sh examples/one-namespace.sh      needs `xsem` in PATH, or XSEM=/path/to/xsem
set -eu
xsem=$(command -v "${XSEM:-xsem}")
name=example/one-namespace-$$
unset XSEM_NAMESPACE
trap 'env -i "$xsem" rm "$name"' EXIT

# Without HOME, XDG_RUNTIME_DIR, USER, TMPDIR, PATH.
env -i "$xsem" create "$name"

# With all of them wrong; in a login shell; as it is here.
env HOME=/nonexistent XDG_RUNTIME_DIR=/nonexistent TMPDIR=/nonexistent USER=nobody "$xsem" show "$name" > /dev/null
sh -lc '"$1" show "$2"' sh "$xsem" "$name"
"$xsem" ls | grep -q "^$name "
echo "one namespace"
