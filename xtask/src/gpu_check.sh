#!/bin/sh
# Checks the CUDA backend on this machine: the kernels against their references, then all three
# stages on the embedded digits, twice, with the same numbers. Needs the NVIDIA driver, the NVRTC
# library (libnvrtc.so, perhaps by LD_LIBRARY_PATH) and CUDA's headers (in CUDA_PATH or
# /usr/local/cuda); no toolchain, no network, no data. The last line is the verdict; the exit code is 0 only for PASS.
cd "$(dirname "$0")" || exit 1

fail() {
    echo "FAIL: $1"
    exit 1
}

./lasnn check-backend --backend cuda || fail "kernel parity (lasnn check-backend)"

runs=$(mktemp -d runs.XXXXXX) || fail "no folder for runs here"

# What a run measured, but for its times.
train() {
    ./lasnn run recipe.toml --backend cuda --runs-dir "$runs/$1" || fail "training (lasnn run)"
    sed -E 's/"(seconds|images_per_second)":[^,}]*//g' "$runs/$1"/*/*/metrics.jsonl >"$runs/$1.metrics" ||
        fail "training wrote no metrics"
}
train first
train second
cmp "$runs/first.metrics" "$runs/second.metrics" || fail "the same recipe gave other numbers"
echo "PASS: the CUDA kernels agree with their references, and the three stages ran, twice with the same numbers"
