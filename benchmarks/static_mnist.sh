#!/usr/bin/env bash
# Static MNIST with the recipe `mnist`: train for so many minutes, then the full-test ELBO and IW-1000.
# Usage: TAUT_DATA=DIR benchmarks/static_mnist.sh MINUTES OUT [IW_EXAMPLES]
set -euo pipefail
minutes=$1 out=$2 examples=${3:-1000}
taut train binarized-mnist --recipe mnist --minutes "$minutes" --seed 0 --out "$out"
taut evaluate "$out" --samples 1000 --iw-limit "$examples" --json
