#!/usr/bin/env bash
# The head of a Ray cluster, in the foreground until it is stopped (Ctrl-C, SIGTERM, a systemd unit).
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: RAY_AUTH_TOKEN=SECRET cluster/head.sh [options of `ray start`]

Starts the head of a Ray cluster on this machine and stays until it is stopped.
  RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH   the secret every node and every user of the cluster shares;
                                          a fresh one: export RAY_AUTH_TOKEN=$(openssl rand -hex 32)
  PORT                                    where it listens (6379)
Options follow, for example --num-cpus=0 to run no cell on the head.
TEXT
}

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  usage
  exit 0
fi
if [[ -z ${RAY_AUTH_TOKEN:-} && ! -r ${RAY_AUTH_TOKEN_PATH:-${HOME:-}/.ray/auth_token} ]]; then
  echo "head.sh: no token: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH (cluster/head.sh --help)" >&2
  exit 2
fi
if ! command -v ray >/dev/null; then
  echo "head.sh: no ray command on PATH: activate the environment joulegrid is installed in" >&2
  exit 3
fi

export RAY_AUTH_MODE=token
export CUDA_DEVICE_ORDER=PCI_BUS_ID # Ray counts GPUs in NVML's order; CUDA must do the same
exec ray start --head --block --port="${PORT:-6379}" --disable-usage-stats "$@"
