#!/bin/sh
# Compares the estimated with the measured peak of some recipes of this folder:
#
#   ./measure.sh target/release/lasnn digits vgg5-bf16 ...
#
# For each command it prints the recipe, the largest estimate of a stage (from log.txt), and the largest
# resident set that the system has counted, both in MiB.
set -eu
lasnn=$(realpath "$1")
shift
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

measure() { # the recipe, then the command; every command has a folder of runs of its own
    recipe=$1
    shift
    rm -rf "$work/runs"
    measured=$(python3 -c '
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)' \
        "$lasnn" "$@" --runs-dir "$work/runs" --threads 2 --quiet)
    estimated=$(cat "$work"/runs/*/*/log.txt | sed -n 's/.*memory is estimated.* bytes=\([0-9]*\).*/\1/p' |
        sort -n | tail -1)
    echo "| $recipe | $(echo "$@" | sed "s|$work/||g; s| $recipe.toml||") | $((estimated >> 20)) | $measured |" \
        "$(python3 -c "print(round(100 * (($estimated >> 20) / $measured - 1)))") % |"
}

for recipe in "$@"; do
    file=$recipe.toml
    for network in teacher intermediate; do
        measure "$recipe" train $network "$file"
        cp "$work"/runs/*/*/checkpoints/$network.safetensors "$work/"
    done
    given="--intermediate $work/intermediate.safetensors"
    measure "$recipe" convert "$file" $given
    measure "$recipe" distill "$file" $given --teacher "$work/teacher.safetensors"
    measure "$recipe" run "$file"
done
