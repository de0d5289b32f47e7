"""Through zeusd, the Zeus project's daemon, over its Unix domain socket.

The API is that of zeusd 0.4 and later (https://ml.energy/zeus/zeusd/): writes are POST with query parameters, GPUs are
given by the daemon's index, `block=true` waits until it is done.
"""

import http.client
import json
import os
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pynvml

from collectors.control.driver import asking, handle, pci_address
from collectors.errors import CollectorError, ControlFailed, NotPermitted

SOCKET_VARIABLE, TOKEN_VARIABLE = "ZEUSD_SOCK_PATH", "ZEUSD_TOKEN"
"""The names that Zeus itself reads."""

_SOCKETS = (Path("/run/zeusd/zeusd.sock"), Path("/var/run/zeusd.sock"))
_TIMEOUT_S = 10.0
_ACTS_WITHIN_S = 3.0
_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 200, 401, 403, 404


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(str(self._path))


class Zeusd:
    """The daemon acts, perhaps after we have died, hence `acts_late`. Needs NVML to be open."""

    name = "zeusd"
    acts_late = True

    def __init__(self, path: Path, token: str | None = None) -> None:
        """A client of the daemon at this socket."""
        self._path = path
        self._token = token

    def set_power_limit(self, uuid: str, limit_mw: int) -> None:
        """Asks for this limit."""
        self._post("set_power_limit", uuid, power_limit_mw=limit_mw)

    def lock_sm_clock(self, uuid: str, clock_mhz: int) -> None:
        """Locks the SM clock."""
        self._post("set_gpu_locked_clocks", uuid, min_clock_mhz=clock_mhz, max_clock_mhz=clock_mhz)

    def unlock_sm_clock(self, uuid: str) -> None:
        """Takes the lock away."""
        self._post("reset_gpu_locked_clocks", uuid)

    def outwait(self, uuid: str) -> None:
        """Gives the daemon three seconds: it takes milliseconds, and tells nobody what it still does."""
        time.sleep(_ACTS_WITHIN_S)

    def _post(self, what: str, uuid: str, **values: int) -> None:
        query = urlencode({"gpu_ids": self._index(uuid), **values, "block": "true"})
        self._asked("POST", f"/gpu/{what}?{query}")

    def _index(self, uuid: str) -> int:
        """The daemon's index of a GPU; a container that sees some of the host's GPUs counts otherwise."""
        answer = self._asked("GET", "/discover")
        try:
            indices = _indices(json.loads(answer))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ControlFailed(
                f"zeusd at {self._path}: GET /discover: not what zeusd says: {answer[:80]!r}"
            ) from error
        if indices and None not in indices.values():
            wanted = pci_address(uuid)
            for index, address in indices.items():
                if address == wanted:
                    return index
            raise ControlFailed(f"zeusd at {self._path} does not know GPU {uuid}")
        with asking(f"the index of {uuid}"):
            index, n_here = pynvml.nvmlDeviceGetIndex(handle(uuid)), pynvml.nvmlDeviceGetCount()
        if len(indices) != n_here:
            raise NotPermitted(
                f"zeusd at {self._path} has {len(indices)} GPUs and this process sees {n_here}: not the same"
            )
        return int(index)

    def _asked(self, method: str, target: str) -> str:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        connection = _Connection(self._path)
        try:
            connection.request(method, target, headers=headers)
            answer = connection.getresponse()
            status, text = answer.status, answer.read().decode(errors="replace")
        except (FileNotFoundError, ConnectionRefusedError, PermissionError) as error:
            raise NotPermitted(f"no zeusd answers at {self._path} ({error.strerror})") from error
        except (OSError, http.client.HTTPException) as error:
            raise ControlFailed(f"zeusd at {self._path}: {method} {target}: {error}") from error
        finally:
            connection.close()
        if status != _OK:
            raise _kind(status)(f"zeusd at {self._path}: {method} {target}: {status} {' '.join(text.split())}")
        return text


def _indices(found: Any) -> dict[int, tuple[int, int, int] | None]:
    """PCI addresses by the daemon's index; None where it tells none, as 0.4, which tells indices alone."""
    gpus = found.get("gpus") or [{"id": index} for index in found.get("gpu_ids", [])]
    return {int(gpu["id"]): _parsed(gpu["pci_address"]) if "pci_address" in gpu else None for gpu in gpus}


def _kind(status: int) -> type[CollectorError]:
    """404 is an API group (`--enable gpu-control`) that the daemon was not started with."""
    return NotPermitted if status in {_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND} else ControlFailed


def _parsed(address: Any) -> tuple[int, int, int]:
    """`lspci -D`'s 0000:41:00.0 as domain, bus and device."""
    domain, bus, rest = str(address).split(":")
    return int(domain, 16), int(bus, 16), int(rest.partition(".")[0], 16)


def build() -> Zeusd:
    """A client of the daemon at `$ZEUSD_SOCK_PATH`, else where it listens by default."""
    named = os.environ.get(SOCKET_VARIABLE)
    path = Path(named) if named else next((each for each in _SOCKETS if each.exists()), _SOCKETS[0])
    return Zeusd(path, os.environ.get(TOKEN_VARIABLE))
