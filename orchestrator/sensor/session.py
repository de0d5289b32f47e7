"""Record a GPU's power sensor: poll it while the GPU is idle, then while a load switches on and off."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from collectors.control.driver import mig_enabled
from collectors.errors import CollectorError
from collectors.nvml_devices import Gpu, Nvml, gpu_facts
from collectors.polling import Reader, call_cost_s, paced, poll, readers_of
from collectors.sampler import Sampler
from collectors.sources import SourceSpec
from orchestrator.errors import EnvironmentFailure
from orchestrator.records.provenance import unix_now_s, versions
from orchestrator.sensor.load import LoadMissing, LoadProcess
from orchestrator.sensor.recording import (
    CONTEXT,
    IDLE,
    IDLE_POLLED,
    SAMPLE_EVERY_S,
    SAMPLER,
    STEP,
    WAVE,
    About,
    Call,
    Recording,
    Stage,
)

DURATION_S = 60.0
"""Length of all stages below; the start of the load's process is not included."""

_LENGTHS_S = {IDLE: 4.0, IDLE_POLLED: 4.0, CONTEXT: 4.0, SAMPLER: 4.0, STEP: 12.0}
_WAVES_S = ((2.03, 8.2), (0.103, 4.0), (0.207, 4.0), (0.053, 4.0), (0.021, 4.0), (0.507, 4.0))
"""Period and length of each square wave. No period is a multiple of 100 ms: no sensor keeps step with it."""

_STEP_ON = 2 / 3
_LEAD_S, _TAIL_S = 0.3, 0.4
_LOAD_START_S = 120.0


def choose_gpu(nvml: Nvml, wanted: str | None) -> Gpu:
    """Return the GPU that ``wanted`` names (index, UUID or its beginning), or the first that can be used.

    Raises:
        EnvironmentFailure: There is none, MIG divides it, or another process uses it.
        CollectorError: ``wanted`` names no GPU, or it cannot be read.
    """
    gpus = nvml.gpus_left() if wanted is None else nvml.resolve([wanted])
    if not gpus:
        raise EnvironmentFailure("the driver shows no GPU that this process may use")
    gpu = gpus[0]
    if gpu.mig or mig_enabled(gpu.uuid):
        raise EnvironmentFailure(
            f"GPU {gpu.index} ({gpu.uuid}) is divided by MIG: its sensors are the whole GPU's, and the load would use "
            "a part of it"
        )
    pids = pids_on(nvml, gpu)
    if pids:
        raise EnvironmentFailure(
            f"GPU {gpu.index} ({gpu.uuid}) is in use by {', '.join(f'pid {pid}' for pid in pids)}: its load would be "
            "part of every figure; stop it, or choose another GPU with gpu=INDEX"
        )
    return gpu


def pids_on(nvml: Nvml, gpu: Gpu) -> list[int]:
    """Return the processes that compute on a GPU; none if the driver does not list them."""
    try:
        return [process.pid for process in nvml.compute_processes(gpu.uuid)]
    except CollectorError:
        return []


def record(nvml: Nvml, gpu: Gpu, folder: Path, *, load_module: str | None, duration_s: float) -> Recording:
    """Record all stages of a GPU from `choose_gpu`; write to ``folder`` after each.

    ``load_module`` is the module of the load's process; with None, stages that need a load are left out. The length of
    stages is in proportion to ``duration_s``; see `DURATION_S`.

    Raises:
        CollectorError: The GPU does not answer.
        EnvironmentFailure: It has no sensor.
    """
    about = About(
        date=datetime.fromtimestamp(unix_now_s(), UTC).date().isoformat(),
        uuid=gpu.uuid,
        gpu=gpu_facts([gpu.uuid])[gpu.uuid],
        versions=versions(),
        load_missing="load=none" if load_module is None else None,
    )
    recording, readers = Recording(about), _measured_readers(gpu.uuid, about)
    timeout_s = _LOAD_START_S + 2 * duration_s
    with nullcontext() if load_module is None else LoadProcess(load_module, gpu.uuid, timeout_s) as load:
        for _ in _Session(readers, load, recording, duration_s / DURATION_S).run():
            recording.write(folder)
    about.other_pids = pids_on(nvml, gpu)
    return recording


def _measured_readers(uuid: str, about: About) -> list[Reader]:
    """Measure the duration of a call of each reading, and poll expensive ones less often, except ``power_w``."""
    readers = readers_of(uuid)
    if not readers:
        raise EnvironmentFailure(f"GPU {uuid} has no power or energy reading that the driver shows")
    for reader in readers:
        median_s, p99_s = call_cost_s(reader)
        about.calls[reader.name] = Call(median_s=median_s, p99_s=p99_s)
    return [each if each.name == "power_w" else paced(each, about.calls[each.name].median_s) for each in readers]


@dataclass(slots=True)
class _Session:
    """Runs the stages. ``load`` is None if there is none, or none any more; ``scale`` multiplies lengths."""

    readers: Sequence[Reader]
    load: LoadProcess | None
    recording: Recording
    scale: float

    def run(self) -> Iterator[None]:
        """Yield after every stage. The load's process imports its libraries during the idle stages."""
        self._poll(IDLE, [replace(each, every_s=max(each.every_s, SAMPLE_EVERY_S)) for each in self.readers])
        self._poll(IDLE_POLLED)
        yield
        switching = [partial(self._switch, *each) for each in _switching_stages(self.scale)]
        stages: list[Callable[[LoadProcess], None]] = [self._context, *switching]
        for stage in stages:
            if self.load is not None:
                with self._load_may_end():
                    stage(self.load)
                yield
        with self._load_may_end():
            self._sample()
        yield

    @contextmanager
    def _load_may_end(self) -> Iterator[None]:
        try:
            yield
        except LoadMissing as error:
            self.load, self.recording.about.load_missing = None, str(error)

    def _context(self, load: LoadProcess) -> None:
        """Poll while the GPU has a context and is idle."""
        self.recording.about.load |= load.open()
        time.sleep(_LEAD_S)
        self._poll(CONTEXT)

    def _switch(self, name: str, on_s: float, off_s: float, turns: int, load: LoadProcess) -> None:
        """Poll while the load switches on and off."""
        load.begin(time.monotonic() + _LEAD_S, on_s, off_s, turns)
        stage = self._poll(name, length_s=_LEAD_S + turns * (on_s + off_s) + _TAIL_S)
        stage.period_s, stage.edges_s = on_s + off_s, load.edges_s()

    def _poll(self, name: str, readers: Sequence[Reader] = (), length_s: float | None = None) -> Stage:
        length_s = _LENGTHS_S[name] * self.scale if length_s is None else length_s
        start_s = time.monotonic()
        self.recording.add(name, poll(readers or self.readers, start_s + length_s))
        stage = Stage(start_s=start_s, end_s=time.monotonic())
        self.recording.about.stages[name] = stage
        return stage

    def _sample(self) -> None:
        """Run the product's sampler in a thread, as a lane's collector does; under load if there is one."""
        length_s = _LENGTHS_S[SAMPLER] * self.scale
        sampler = Sampler(SourceSpec("nvml", (self.recording.about.uuid,)).build(), SAMPLE_EVERY_S)
        sampler.start()
        try:
            start_s, cpu_before_s = time.monotonic(), time.process_time()
            if self.load is not None:
                self.load.begin(start_s + _LEAD_S, length_s, 0.0, 1)
            time.sleep(_LEAD_S + length_s)
            stage = Stage(start_s=start_s, end_s=time.monotonic())
            stage.core_ratio = (time.process_time() - cpu_before_s) / (stage.end_s - start_s)
            columns = sampler.take(start_s, stage.end_s)["power"]
        finally:
            sampler.stop()
        self.recording.add(SAMPLER, {name: (columns["t_s"], columns[name]) for name in ("power_w", "energy_j")})
        self.recording.about.stages[SAMPLER] = stage
        stage.edges_s = [] if self.load is None else self.load.edges_s()


def _switching_stages(scale: float) -> list[tuple[str, float, float, int]]:
    """Return name, time on, time off and turns of each stage in which the load switches."""
    step_s = _LENGTHS_S[STEP] * scale
    waves = [
        (f"{WAVE}_{period_s * 1e3:.0f}ms", period_s / 2, period_s / 2, max(1, round(length_s * scale / period_s)))
        for period_s, length_s in _WAVES_S
    ]
    return [(STEP, _STEP_ON * step_s, (1 - _STEP_ON) * step_s, 1), *waves]
