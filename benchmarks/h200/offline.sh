#!/usr/bin/env bash
# On a GPU host without a network, in the root of the checkout: unpack the packages in .h200/ (see
# `python -m benchmarks.h200.transfer carry`), then continue the measurements. The files to fetch are in $OUT.
set -euo pipefail
: "${OUT:?the folder for the files to fetch}"
bash .h200/receive_chunk.sh .h200
eval "$(bash .h200/assemble.sh)"
export PYTHONPATH=$PWD:$PYTHONPATH
# Where memory is assigned only as it is used, Ray sees it nearly full and would kill the engine.
export RAY_memory_monitor_refresh_ms=0
export VLLM_HOST_IP=127.0.0.1 # without a network route vLLM finds no other address
exec python3 -m benchmarks.h200.next --carried .h200 --out "$OUT" "$@"
