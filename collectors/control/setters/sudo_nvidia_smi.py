"""Setter `sudo_nvidia_smi`: through `sudo -n nvidia-smi`, which a line in sudoers allows to users other than root."""

import shutil
import subprocess
import time

import psutil

from collectors.errors import CollectorError, ControlFailed, GpuLost, NotPermitted, NotSupported

_TIMEOUT_S = 20.0
_STARTS_WITHIN_S = 1.0
_POLL_S = 0.05
_SUDO_REFUSED = 1
_KINDS: dict[int, type[CollectorError]] = {3: NotSupported, 4: NotPermitted, 15: GpuLost}
"""Errors by exit code of nvidia-smi, which is the code of NVML (`man nvidia-smi`, RETURN VALUE)."""


class SudoNvidiaSmi:
    """See `Setter`. A setting starts two processes, which may outlive this one."""

    name = "sudo_nvidia_smi"
    acts_late = True

    def set_power_limit(self, uuid: str, limit_mw: int) -> None:
        """Set the power limit."""
        self._run(uuid, "-pl", f"{limit_mw / 1000:.3f}".rstrip("0").rstrip("."))

    def lock_sm_clock(self, uuid: str, clock_mhz: int) -> None:
        """Lock the SM clock."""
        self._run(uuid, "-lgc", f"{clock_mhz},{clock_mhz}")

    def unlock_sm_clock(self, uuid: str) -> None:
        """Remove the lock."""
        self._run(uuid, "-rgc")

    def outwait(self, uuid: str) -> None:
        """Wait until no nvidia-smi runs on the GPU."""
        deadline_s = time.monotonic() + _TIMEOUT_S
        time.sleep(_STARTS_WITHIN_S)  # one that has just been started has no command line yet
        while time.monotonic() < deadline_s and any(runs_on(each, uuid) for each in psutil.process_iter()):
            time.sleep(_POLL_S)

    def _run(self, uuid: str, *options: str) -> None:
        if shutil.which("sudo") is None:
            raise NotPermitted("there is no sudo on this machine")
        command = ["sudo", "-n", "nvidia-smi", "-i", uuid, *options]
        try:
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except OSError as error:
            raise ControlFailed(f"{command[0]} cannot be started: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise ControlFailed(f"{' '.join(command)} did not end within {_TIMEOUT_S:g} s") from error
        if ended.returncode:
            raise _kind(ended)(f"{' '.join(command)}: {_message(ended)}")


def runs_on(process: psutil.Process, uuid: str) -> bool:
    """Return whether a process is an nvidia-smi that sets the GPU, or the sudo that starts it."""
    try:
        words = process.cmdline()
    except psutil.Error:  # it has ended
        return False
    return uuid in words and any("nvidia-smi" in word for word in words)


def _kind(ended: subprocess.CompletedProcess[str]) -> type[CollectorError]:
    if ended.returncode == _SUDO_REFUSED and "sudo:" in ended.stderr:
        return NotPermitted
    return _KINDS.get(ended.returncode, ControlFailed)


def _message(ended: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (ended.stderr + ended.stdout).splitlines() if line.strip()]
    return lines[0] if lines else f"exit status {ended.returncode}"


def build() -> SudoNvidiaSmi:
    """Return this setter."""
    return SudoNvidiaSmi()
