#!/usr/bin/env bash
# A node of a Ray cluster, in the foreground until it is stopped (Ctrl-C, SIGTERM, a systemd unit) or the head goes.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: RAY_AUTH_TOKEN=SECRET cluster/worker.sh HEAD:PORT [options of `ray start`]

Adds this machine to the cluster whose head listens at HEAD:PORT and stays until it is stopped.
  RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH   the token the head was started with
Options follow, for example --num-gpus=4 or --resources='{"powercap": 1}'.
TEXT
}

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  usage
  exit 0
fi
if [[ ! ${1:-} =~ ^[^-].*:[0-9]+$ ]]; then
  echo "worker.sh: the head's HOST:PORT comes first, got '${1:-}' (cluster/worker.sh --help)" >&2
  exit 2
fi
if [[ -z ${RAY_AUTH_TOKEN:-} && ! -r ${RAY_AUTH_TOKEN_PATH:-${HOME:-}/.ray/auth_token} ]]; then
  echo "worker.sh: no token: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the head's (cluster/worker.sh --help)" >&2
  exit 2
fi
if ! command -v ray >/dev/null; then
  echo "worker.sh: no ray command on PATH: activate the environment joulegrid is installed in" >&2
  exit 3
fi

head=$1
shift
export RAY_AUTH_MODE=token
export CUDA_DEVICE_ORDER=PCI_BUS_ID # Ray counts GPUs in NVML's order; CUDA must do the same
exec ray start --block --address="$head" --disable-usage-stats "$@"
