"""The NVIDIA GPUs of this machine."""

import pynvml


def gpu_names() -> tuple[str, ...]:
    """Product names in NVML's order; empty where there is no NVIDIA driver or it cannot be used."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return tuple(str(pynvml.nvmlDeviceGetName(handle)) for handle in handles)
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()
