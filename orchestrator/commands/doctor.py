"""``doctor``: what can be measured and set on this machine, and what would be needed for the rest.

``doctor sensor`` measures the power sensor of one GPU.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from collectors.capabilities import NOT_TRIED, Capabilities, GpuCapabilities, survey
from collectors.control.setter import AUTO
from collectors.control.undo import Journal, journals
from collectors.errors import CollectorError, UnknownGpu
from collectors.nvml_devices import Nvml
from collectors.polling import gpu_update_periods
from collectors.update_period import UpdatePeriod
from orchestrator.cli import Arguments, helped, parsed
from orchestrator.errors import EnvironmentFailure, UserError, allowed_names
from orchestrator.records.provenance import unix_now_s
from orchestrator.sensor.output import draw_figure, summary_text
from orchestrator.sensor.recording import FIGURE_FILE, About, Recording, read_recording
from orchestrator.sensor.session import DURATION_S, choose_gpu, record
from orchestrator.sensor.summary import Summary, summarize
from orchestrator.sweep.console import say, warn

_TAKES = (
    "[need=gpu,gpu_power,power_limit,sm_clock,cpu_power] [setter=auto|nvml|…] [state_dir=DIR] [poll_s=2], or sensor"
)
_SENSOR = "sensor"
_SENSOR_TAKES = "[gpu=INDEX|UUID] [out=DIR] [duration_s=60] [load=matmul|none|MODULE] [again=DIR]"
_MATMUL = "orchestrator.sensor.matmul"
_DURATIONS_S = (10.0, 600.0)
_SETTABLE = {"power_limit", "sm_clock"}
_MISSING_EXIT_CODE = 3
_LONGEST_POLL_S = 60.0
_SAME_W = 1.0  # drivers round what they are told

_NEEDS: dict[str, Callable[[Capabilities], bool]] = {
    "gpu": lambda found: bool(found.gpus),
    "gpu_power": lambda found: _all(found, lambda gpu: gpu.energy_counter or gpu.instant_power),
    "power_limit": lambda found: _all(
        found, lambda gpu: gpu.setter is not None and gpu.power_limit_range_w is not None
    ),
    "sm_clock": lambda found: _all(found, lambda gpu: gpu.setter is not None and gpu.sm_clock_range_mhz is not None),
    "cpu_power": lambda found: bool(found.rapl),
}


def main(args: Sequence[str]) -> int:
    """``doctor [need=…] [setter=…] [state_dir=…] [poll_s=…]``: asks, changes nothing; ``doctor sensor``: `_sensor`.

    No setter is called unless one is named, or what it would set is needed: a limit that stands is then set again.
    With ``poll_s`` it polls the power of each GPU for so many seconds, to tell how often the sensor is renewed.
    The result is the exit code: 0, or 3 where something named in ``need`` is missing on a GPU of this machine.

    Raises:
        UserError: an argument is wrong.
    """
    if args and args[0] == _SENSOR:
        return _sensor(args[1:])
    if helped("doctor", _TAKES, args):
        return 0
    given = parsed("doctor", args, ("need", "setter", "state_dir", "poll_s"))
    if given.words:
        raise UserError(f"doctor takes no {given.words[0]!r}; allowed: {_TAKES}")
    for need in given.names("need"):
        if need not in _NEEDS:
            raise UserError(f"doctor: unknown need {need!r}; {allowed_names(need, _NEEDS)}")
    folder = Path(given.options["state_dir"]) if "state_dir" in given.options else None
    by_default = AUTO if _SETTABLE & set(given.names("need")) else None
    found, left = survey(setter=given.options.get("setter", by_default), state_dir=folder), journals(folder)
    missing = [need for need in given.names("need") if not _NEEDS[need](found)]
    periods = _update_periods(found, given.options.get("poll_s"))
    _show(Console(highlight=False, soft_wrap=True), found, left)
    for uuid, period in periods.items():
        say(f"power sensor of {uuid}: {_renewed(period)}")
    code = _MISSING_EXIT_CODE if missing else 0
    if missing:
        say(f"missing: {', '.join(missing)}")
    told = {**_plain(found, left, periods), "missing": missing, "exit_code": code}
    say(json.dumps({"command": "doctor", **told}))
    return code


def _update_periods(found: Capabilities, poll_s: str | None) -> dict[str, UpdatePeriod | None]:
    if poll_s is None:
        return {}
    for_s = _seconds(poll_s)
    if not 0 < for_s <= _LONGEST_POLL_S:
        raise UserError(f"doctor: poll_s={poll_s}: allowed are seconds, more than 0 and at most {_LONGEST_POLL_S:g}")
    try:
        return gpu_update_periods([gpu.uuid for gpu in found.gpus], for_s)
    except CollectorError as error:
        raise EnvironmentFailure(f"doctor: {error}") from error


def _renewed(period: UpdatePeriod | None) -> str:
    if period is None:
        return "power hardly moved or moved at every look, which does not tell how often it is renewed"
    return f"renewed every {period.period_s * 1e3:.0f} ms, give or take {period.error_s * 1e3:.0f} ms"


def _sensor(args: Sequence[str]) -> int:
    """``doctor sensor``: record and summarise the power sensor of one GPU, or summarise a recording again.

    Raises:
        UserError: An argument is wrong.
        EnvironmentFailure: There is no GPU that can be measured.
    """
    name = f"doctor {_SENSOR}"
    if helped(name, _SENSOR_TAKES, args):
        return 0
    given = parsed(name, args, ("gpu", "out", "duration_s", "load", "again"))
    if given.words:
        raise UserError(f"{name} takes no {given.words[0]!r}; allowed: {_SENSOR_TAKES}")
    if "again" in given.options:
        folder = Path(given.options["again"])
        recording = read_recording(folder)
    else:
        stamp = datetime.fromtimestamp(unix_now_s(), UTC).strftime("%Y%m%d-%H%M%S")
        folder = Path(given.options.get("out", f"runs/{_SENSOR}-{stamp}"))
        recording = _recorded(given, folder)
    summary = summarize(recording)
    recording.about.summary = summary.model_dump()
    recording.write(folder)
    figure = _drawn(recording, folder / FIGURE_FILE)
    _show_sensor(recording.about, summary)
    files = {"folder": str(folder), "figure": figure}
    about = recording.about.model_dump(include={"uuid", "load_missing", "other_pids"})
    say(json.dumps({"command": "doctor", "topic": _SENSOR, **files, **about, **summary.model_dump(), "exit_code": 0}))
    return 0


def _recorded(given: Arguments, folder: Path) -> Recording:
    duration_s = _seconds(given.options.get("duration_s", str(DURATION_S)))
    if not _DURATIONS_S[0] <= duration_s <= _DURATIONS_S[1]:
        allowed = f"{_DURATIONS_S[0]:g} to {_DURATIONS_S[1]:g} seconds"
        raise UserError(f"doctor {_SENSOR}: duration_s={given.options['duration_s']}: allowed are {allowed}")
    load = given.options.get("load", "matmul")
    module = {"matmul": _MATMUL, "none": None}.get(load, load)
    try:
        with Nvml() as nvml:
            gpu = choose_gpu(nvml, given.options.get("gpu"))
            say(f"GPU {gpu.index}: {gpu.name} ({gpu.uuid}), about {duration_s:g} s and the start of the load")
            return record(nvml, gpu, folder, load_module=module, duration_s=duration_s)
    except UnknownGpu as error:
        raise UserError(f"doctor {_SENSOR}: {error}") from error
    except (CollectorError, EnvironmentFailure) as error:
        raise EnvironmentFailure(f"doctor {_SENSOR}: {error}") from error


def _drawn(recording: Recording, path: Path) -> str | None:
    try:
        draw_figure(recording, path)
    except ImportError as error:  # a GPU host may lack matplotlib: `again` draws it elsewhere
        warn(f"no figure: {error}")
        return None
    return str(path)


def _show_sensor(about: About, summary: Summary) -> None:
    if about.load_missing is not None:
        say(f"note: without a load only what needs none is measured: {about.load_missing}")
    if about.other_pids:
        pids = ", ".join(f"pid {pid}" for pid in about.other_pids)
        warn(f"{pids} used the GPU when the recording ended: the figures include its load")
    say(summary_text(summary))


def _seconds(text: str) -> float:
    """Return the number; 0 if it is none."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _all(found: Capabilities, able: Callable[[GpuCapabilities], bool]) -> bool:
    return bool(found.gpus) and not found.gpus_lost and all(map(able, found.gpus))


def _plain(found: Capabilities, left: Sequence[Journal], periods: Mapping[str, UpdatePeriod | None]) -> dict[str, Any]:
    periods_s = {uuid: None if each is None else each.period_s for uuid, each in periods.items()}
    return {
        **asdict(found),
        **({"update_period_s": periods_s} if periods else {}),
        "limits_unexplained": [gpu.uuid for gpu in _unexplained(found, left)],
        "journals": [{"uuid": each.uuid, "path": str(each.path), "told": each.detail} for each in left],
    }


def _unexplained(found: Capabilities, left: Sequence[Journal]) -> list[GpuCapabilities]:
    """GPUs that stand at another limit than their default, and no journal says why."""
    explained = {each.uuid for each in left}
    return [
        gpu
        for gpu in found.gpus
        if gpu.uuid not in explained
        and None not in (gpu.power_limit_w, gpu.default_power_limit_w)
        and abs((gpu.power_limit_w or 0) - (gpu.default_power_limit_w or 0)) > _SAME_W
    ]


def _show(console: Console, found: Capabilities, left: Sequence[Journal]) -> None:
    if found.driver is None:
        console.print(f"GPUs: none ({found.driver_missing})", markup=False)
    else:
        console.print(f"NVIDIA driver {found.driver}, {len(found.gpus)} GPUs", markup=False)
    if found.gpus_lost:
        console.print(f"{found.gpus_lost} GPUs do not answer: lost", markup=False)
    for gpu in found.gpus:
        console.print(_table(gpu))
    domains = ", ".join(found.rapl) if found.rapl else f"none: {found.rapl_missing}"
    console.print(f"CPU energy (RAPL): {domains}", markup=False)
    for gpu in _unexplained(found, left):
        console.print(
            f"GPU {gpu.index} ({gpu.uuid}) stands at {gpu.power_limit_w:g} W, its default is "
            f"{gpu.default_power_limit_w:g} W, and no journal here says why: an operator's choice, or left by a "
            "container whose folder is gone (nvidia-smi -pl sets it)",
            markup=False,
        )
    for each in left:
        console.print(f"journal {each.path}: {each.detail}", markup=False)


def _table(gpu: GpuCapabilities) -> Table:
    table = Table(title=f"GPU {gpu.index}: {gpu.name}", title_justify="left", show_header=False)
    table.add_row("UUID", gpu.uuid + (" (divided by MIG)" if gpu.mig else ""))
    table.add_row("energy counter", "yes" if gpu.energy_counter else "no")
    table.add_row("instantaneous power", "yes" if gpu.instant_power else "no")
    table.add_row("power limit", _limit(gpu))
    table.add_row("SM clock lock", _range(gpu.sm_clock_range_mhz, "MHz"))
    table.add_row("may be set", _may_be_set(gpu))
    table.add_row("processes", ", ".join(map(str, gpu.processes)) or "none that the driver tells")
    return table


def _may_be_set(gpu: GpuCapabilities) -> str:
    if gpu.setter_refused == NOT_TRIED:
        return f"{NOT_TRIED}, which setter=auto does"
    return f"yes, by {gpu.setter}" if gpu.setter else f"no: {gpu.setter_refused}"


def _limit(gpu: GpuCapabilities) -> str:
    if gpu.power_limit_w is None:
        return "none"
    enforced = "" if gpu.enforced_power_limit_w == gpu.power_limit_w else f", enforced {gpu.enforced_power_limit_w:g} W"
    return f"{gpu.power_limit_w:g} W{enforced}, {_range(gpu.power_limit_range_w, 'W')}"


def _range(found: tuple[float, float] | None, unit: str) -> str:
    return "cannot be set" if found is None else f"{found[0]:g} to {found[1]:g} {unit}"
