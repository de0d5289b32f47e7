#!/usr/bin/env bash
# On a GPU host without a network, in the root of the checkout: unpack the packages that were carried in .h200/ (those
# of `python -m benchmarks.h200.carry`), then go on with the measurements. What comes back lies in $OUT.
set -euo pipefail
: "${OUT:?the folder of what comes back}"
bash .h200/receive_chunk.sh .h200
eval "$(bash .h200/assemble.sh)"
export PYTHONPATH=$PWD:$PYTHONPATH
# Some machines get their memory as they use it: what there is looks nearly full to Ray, which would end the engine.
export RAY_memory_monitor_refresh_ms=0
export VLLM_HOST_IP=127.0.0.1 # a machine without a route has no other address to find
exec python3 -m benchmarks.h200.next --carried .h200 --out "$OUT" "$@"
