#!/bin/sh
# Compares the estimated with the measured peak of the recipes of this folder:
#
#   ./measure.sh target/release/lasnn plain trained ...
#
# For each recipe it prints the largest estimate of a stage (from log.txt), and the largest resident
# set that the system has counted, both in MiB.
set -eu
lasnn=$(realpath "$1")
shift
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for recipe in "$@"; do
    rm -rf "$work/runs"
    measured=$(python3 -c '
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)' \
        "$lasnn" run "$recipe.toml" --runs-dir "$work/runs" --threads 2 --quiet)
    estimated=$(cat "$work"/runs/*/*/log.txt |
        sed -n 's/.*memory is estimated.* bytes=\([0-9]*\).*/\1/p' | sort -n | tail -1)
    echo "| \`$recipe\` | $((estimated >> 20)) | $measured |" \
        "$(python3 -c "print('%+d' % round(100 * (($estimated >> 20) / $measured - 1)))") % |"
done
