"""Setter `zeusd`: through the daemon of the Zeus project, over its Unix domain socket.

The API is that of zeusd 0.4 and later (https://ml.energy/zeus/zeusd/): a setting is a POST request with query
parameters, a GPU is given by the daemon's index, and `block=true` waits until the setting is made.
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

from collectors.control.driver import control_errors, handle, pci_address
from collectors.errors import CollectorError, ControlFailed, NotPermitted

SOCKET_VARIABLE, TOKEN_VARIABLE = "ZEUSD_SOCK_PATH", "ZEUSD_TOKEN"
"""Environment variables that Zeus itself reads."""

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
    """See `Setter`. The daemon may act after this process has died. NVML must be open.

    Args:
        path: The socket of the daemon.
        token: Sent with each request, if any.
    """

    name = "zeusd"
    acts_late = True

    def __init__(self, path: Path, token: str | None = None) -> None:
        self._path = path
        self._token = token

    def set_power_limit(self, uuid: str, limit_mw: int) -> None:
        """Set the power limit."""
        self._post("set_power_limit", uuid, power_limit_mw=limit_mw)

    def lock_sm_clock(self, uuid: str, clock_mhz: int) -> None:
        """Lock the SM clock."""
        self._post("set_gpu_locked_clocks", uuid, min_clock_mhz=clock_mhz, max_clock_mhz=clock_mhz)

    def unlock_sm_clock(self, uuid: str) -> None:
        """Remove the lock."""
        self._post("reset_gpu_locked_clocks", uuid)

    def outwait(self, uuid: str) -> None:
        """Wait three seconds: the daemon takes milliseconds and does not report what is pending."""
        time.sleep(_ACTS_WITHIN_S)

    def _post(self, action: str, uuid: str, **values: int) -> None:
        query = urlencode({"gpu_ids": self._index(uuid), **values, "block": "true"})
        self._request("POST", f"/gpu/{action}?{query}")

    def _index(self, uuid: str) -> int:
        """Return the daemon's index of a GPU; in a container that sees only some GPUs of the host it differs."""
        text = self._request("GET", "/discover")
        try:
            addresses = _addresses(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ControlFailed(f"zeusd at {self._path}: GET /discover: unexpected answer {text[:80]!r}") from error
        if addresses and None not in addresses.values():
            wanted = pci_address(uuid)
            for index, address in addresses.items():
                if address == wanted:
                    return index
            raise ControlFailed(f"zeusd at {self._path} does not know GPU {uuid}")
        with control_errors(f"the index of {uuid}"):
            index, n_visible = pynvml.nvmlDeviceGetIndex(handle(uuid)), pynvml.nvmlDeviceGetCount()
        if len(addresses) != n_visible:
            raise NotPermitted(
                f"zeusd at {self._path} has {len(addresses)} GPUs and this process sees {n_visible}: not the same"
            )
        return int(index)

    def _request(self, method: str, target: str) -> str:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        connection = _Connection(self._path)
        try:
            connection.request(method, target, headers=headers)
            response = connection.getresponse()
            status, text = response.status, response.read().decode(errors="replace")
        except (FileNotFoundError, ConnectionRefusedError, PermissionError) as error:
            raise NotPermitted(f"no zeusd answers at {self._path} ({error.strerror})") from error
        except (OSError, http.client.HTTPException) as error:
            raise ControlFailed(f"zeusd at {self._path}: {method} {target}: {error}") from error
        finally:
            connection.close()
        if status != _OK:
            raise _kind(status)(f"zeusd at {self._path}: {method} {target}: {status} {' '.join(text.split())}")
        return text


def _addresses(answer: Any) -> dict[int, tuple[int, int, int] | None]:
    """Return PCI addresses by the daemon's index; None if it gives none: zeusd 0.4 gives only indices."""
    gpus = answer.get("gpus") or [{"id": index} for index in answer.get("gpu_ids", [])]
    return {int(gpu["id"]): _parse_address(gpu["pci_address"]) if "pci_address" in gpu else None for gpu in gpus}


def _kind(status: int) -> type[CollectorError]:
    """Return the error's class. 404: the daemon was started without the API group (`--enable gpu-control`)."""
    return NotPermitted if status in {_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND} else ControlFailed


def _parse_address(address: Any) -> tuple[int, int, int]:
    """Return domain, bus and device of an address in the form of `lspci -D`, 0000:41:00.0."""
    domain, bus, rest = str(address).split(":")
    return int(domain, 16), int(bus, 16), int(rest.partition(".")[0], 16)


def build() -> Zeusd:
    """Return a client of the daemon at `$ZEUSD_SOCK_PATH`, else at its default socket."""
    named = os.environ.get(SOCKET_VARIABLE)
    path = Path(named) if named else next((each for each in _SOCKETS if each.exists()), _SOCKETS[0])
    return Zeusd(path, os.environ.get(TOKEN_VARIABLE))
