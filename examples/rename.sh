#!/bin/sh
# Work that takes a while, and that a kill may interrupt anywhere: read a number, think, write the next one to a
# temporary file, rename it into place. Run it under a semaphore:
#
#   xsem run ledger -- sh examples/rename.sh DIR ID
#
# DIR/f holds the number. The hard link DIR/made.ID is there as soon as the temporary file is complete; if the
# temporary file is gone then, the rename was done. So one can count afterwards what really happened, whoever was
# killed where: the number in DIR/f must be the number of renames done.
#
# The claim covers this command, not what it starts. That is why the step that matters is `exec`ed: a `mv` of its own
# could outlive a killed shell, and rename when somebody else has the semaphore.
set -eu
dir=$1 id=$2
read -r a < "$dir/f"
sleep 0.005
echo $((a + 1)) > "$dir/next.$id"
ln "$dir/next.$id" "$dir/made.$id"
exec mv "$dir/next.$id" "$dir/f"
