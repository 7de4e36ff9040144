#!/bin/sh
# Checks the CUDA backend on this machine. First the kernels are compared with their references.
# Then all three stages run twice on the embedded digits and must give the same numbers.
#
# Needs the NVIDIA driver, the NVRTC library (libnvrtc.so, if necessary in LD_LIBRARY_PATH) and
# CUDA's headers (in CUDA_PATH or /usr/local/cuda), but no toolchain, no network and no data.
# The last line is the verdict, and the exit code is 0 only for PASS.
cd "$(dirname "$0")" || exit 1

fail() {
    echo "FAIL: $1"
    exit 1
}

./lasnn check-backend --backend cuda || fail "kernel parity (lasnn check-backend)"

runs=$(mktemp -d runs.XXXXXX) || fail "cannot make a folder for the runs"

# Trains, and writes the metrics of the run without its times.
train() {
    ./lasnn run recipe.toml --backend cuda --runs-dir "$runs/$1" || fail "training (lasnn run)"
    sed -E 's/"(seconds|images_per_second)":[^,}]*//g' "$runs/$1"/*/*/metrics.jsonl \
        >"$runs/$1.metrics" || fail "training wrote no metrics"
}
train first
train second
cmp "$runs/first.metrics" "$runs/second.metrics" || fail "the same recipe gave other numbers"
echo "PASS: the CUDA kernels agree with their references, and two runs gave the same numbers"
