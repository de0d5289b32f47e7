"""A test double of zeusd, on a socket of its own."""

import json
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingUnixStreamServer
from urllib.parse import parse_qs, urlsplit

import pynvml

from tests.fake_nvml.fake_gpus import FakeGpus


class Zeusd(ThreadingUnixStreamServer):
    """The part of zeusd's API that the setter uses; it sets GPUs as root."""

    def __init__(self, path: str, gpus: FakeGpus) -> None:
        super().__init__(path, ZeusdHandler)
        self.gpus = gpus
        self.token: str | None = None
        self.order = list(range(len(gpus)))
        """GPUs by the daemon's index."""
        self.addresses = True
        self.requests: list[str] = []


class ZeusdHandler(BaseHTTPRequestHandler):
    server: Zeusd

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        gpus = [{"id": index, "name": "fake"} for index in range(len(self.server.order))]
        if self.server.addresses:
            for gpu, place in zip(gpus, self.server.order, strict=True):
                gpu["pci_address"] = f"0000:{0x10 + 8 * place:02x}:00.0"
        self._answer(200, {"gpus": gpus, "enabled_api_groups": ["gpu-control"]})

    def do_POST(self) -> None:
        self.server.requests.append(self.path)
        if self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            return self._answer(401, {"error": "missing or invalid token"})
        target = urlsplit(self.path)
        query = {key: value[0] for key, value in parse_qs(target.query).items()}
        assert query.pop("block") == "true"
        gpu = pynvml.nvmlDeviceGetHandleByIndex(self.server.order[int(query.pop("gpu_ids"))])
        calls = {
            "/gpu/set_power_limit": lambda: pynvml.nvmlDeviceSetPowerManagementLimit(gpu, int(query["power_limit_mw"])),
            "/gpu/set_gpu_locked_clocks": lambda: pynvml.nvmlDeviceSetGpuLockedClocks(
                gpu, int(query["min_clock_mhz"]), int(query["max_clock_mhz"])
            ),
            "/gpu/reset_gpu_locked_clocks": lambda: pynvml.nvmlDeviceResetGpuLockedClocks(gpu),
        }
        self.server.gpus.set_privileged(True)
        try:
            calls[target.path]()
        except pynvml.NVMLError as error:
            return self._answer(400, {"errors": {"0": f"NVML error: {error}"}})
        finally:
            self.server.gpus.set_privileged(False)
        return self._answer(200, {})

    def _answer(self, status: int, content: object) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
