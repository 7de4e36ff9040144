#!/bin/sh
# Checks the CUDA backend on this machine: the kernels against their references, then all three
# stages on the embedded digits. Needs the NVIDIA driver, the NVRTC library (libnvrtc.so, perhaps by
# LD_LIBRARY_PATH) and CUDA's headers (in CUDA_PATH or /usr/local/cuda); no toolchain, no network, no
# data. The last line is the verdict; the exit code is 0 only for PASS.
cd "$(dirname "$0")" || exit 1

fail() {
    echo "FAIL: $1"
    exit 1
}

./lasnn check-backend --backend cuda || fail "kernel parity (lasnn check-backend)"
./lasnn run recipe.toml --backend cuda --runs-dir runs || fail "training (lasnn run)"
echo "PASS: the CUDA kernels agree with their references, and the three stages ran"
