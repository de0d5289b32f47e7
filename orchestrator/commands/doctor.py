"""``doctor``: show what this machine can measure and set, and why not the rest.

``doctor sensor`` measures the power sensor of one GPU.
"""

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
from orchestrator.cli import Arguments, CommandResult, parse_arguments
from orchestrator.errors import EnvironmentFailure, UserError, allowed_names
from orchestrator.records.provenance import unix_now_s
from orchestrator.sensor.output import draw_figure, summary_text
from orchestrator.sensor.recording import FIGURE_FILE, About, Recording, read_recording
from orchestrator.sensor.session import DURATION_S, choose_gpu, record
from orchestrator.sensor.summary import Summary, summarize
from orchestrator.sweep.console import print_line, warn

_USAGE = (
    "[sensor …] | [need=gpu,gpu_power,power_limit,sm_clock,cpu_power] [setter=auto|nvml|…] [state_dir=DIR] [poll_s=2]"
)
_SENSOR = "sensor"
_SENSOR_USAGE = "[gpu=INDEX|UUID] [out=DIR] [duration_s=60] [load=matmul|none|MODULE] [again=DIR]"
_MATMUL = "orchestrator.sensor.matmul"
_DURATIONS_S = (10.0, 600.0)
_SETTABLE = {"power_limit", "sm_clock"}
_MISSING_EXIT_CODE = 3
_MAX_POLL_S = 60.0
_SAME_W = 1.0  # drivers round the limits they are given

_NEEDS: dict[str, Callable[[Capabilities], bool]] = {
    "gpu": lambda capabilities: bool(capabilities.gpus),
    "gpu_power": lambda capabilities: _all(capabilities, lambda gpu: gpu.energy_counter or gpu.instant_power),
    "power_limit": lambda capabilities: _all(
        capabilities, lambda gpu: gpu.setter is not None and gpu.power_limit_range_w is not None
    ),
    "sm_clock": lambda capabilities: _all(
        capabilities, lambda gpu: gpu.setter is not None and gpu.sm_clock_range_mhz is not None
    ),
    "cpu_power": lambda capabilities: bool(capabilities.rapl),
}


def main(arguments: Sequence[str]) -> CommandResult:
    """Show what can be measured and set, and change nothing; ``doctor sensor`` measures a power sensor.

    A setter is tried only if it is named, or if ``need`` names a setting: it then sets the present limit again.
    With ``poll_s``, the power of each GPU is polled for that many seconds to find the update period of its sensor.
    The exit code is 0, or 3 if something named in ``need`` is missing on a GPU of this machine.

    Raises:
        UserError: an argument is wrong.
        EnvironmentFailure: a GPU cannot be polled.
    """
    if arguments and arguments[0] == _SENSOR:
        return _sensor(arguments[1:])
    given = parse_arguments("doctor", _USAGE, arguments, ("need", "setter", "state_dir", "poll_s"), takes_words=False)
    for need in given.names("need"):
        if need not in _NEEDS:
            raise UserError(f"doctor: unknown need {need!r}; {allowed_names(need, _NEEDS)}")
    folder = given.path("state_dir")
    setter = given.options.get("setter", AUTO if _SETTABLE & set(given.names("need")) else None)
    capabilities, leftovers = survey(setter=setter, state_dir=folder), journals(folder)
    missing = [need for need in given.names("need") if not _NEEDS[need](capabilities)]
    periods = _update_periods(capabilities, given.options.get("poll_s"))
    _show(Console(highlight=False, soft_wrap=True), capabilities, leftovers)
    for uuid, period in periods.items():
        print_line(f"power sensor of {uuid}: {_period_text(period)}")
    code = _MISSING_EXIT_CODE if missing else 0
    if missing:
        print_line(f"missing: {', '.join(missing)}")
    return CommandResult(code, {**_fields(capabilities, leftovers, periods), "missing": missing, "exit_code": code})


def _update_periods(capabilities: Capabilities, poll_s: str | None) -> dict[str, UpdatePeriod | None]:
    if poll_s is None:
        return {}
    duration_s = _seconds(poll_s)
    if not 0 < duration_s <= _MAX_POLL_S:
        raise UserError(f"doctor: poll_s={poll_s}: allowed are seconds, more than 0 and at most {_MAX_POLL_S:g}")
    try:
        return gpu_update_periods([gpu.uuid for gpu in capabilities.gpus], duration_s)
    except CollectorError as error:
        raise EnvironmentFailure(f"doctor: {error}") from error


def _period_text(period: UpdatePeriod | None) -> str:
    if period is None:
        return "update period unknown: power hardly changed, or changed at every poll"
    return f"updated every {period.period_s * 1e3:.0f} ms ± {period.error_s * 1e3:.0f} ms"


def _sensor(arguments: Sequence[str]) -> CommandResult:
    """Record and summarise the power sensor of one GPU, or summarise a recording again.

    Raises:
        UserError: an argument is wrong.
        EnvironmentFailure: there is no GPU that can be measured.
    """
    name = f"doctor {_SENSOR}"
    given = parse_arguments(
        name, _SENSOR_USAGE, arguments, ("gpu", "out", "duration_s", "load", "again"), takes_words=False
    )
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
    about = recording.about.model_dump(include={"uuid", "load_missing", "other_pids"})
    fields = {"topic": _SENSOR, "folder": str(folder), "figure": figure, **about, **summary.model_dump()}
    return CommandResult(0, {**fields, "exit_code": 0})


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
            print_line(
                f"GPU {gpu.index}: {gpu.name} ({gpu.uuid}), about {duration_s:g} s and the start of the load; "
                f"recording: {folder}"
            )
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
        print_line(f"note: only what needs no load is measured: {about.load_missing}")
    if about.other_pids:
        pids = ", ".join(f"pid {pid}" for pid in about.other_pids)
        warn(f"{pids} used the GPU when the recording ended: the figures include its load")
    print_line(summary_text(summary))


def _seconds(text: str) -> float:
    """Return the number; 0 if the text is not a number."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _all(capabilities: Capabilities, able: Callable[[GpuCapabilities], bool]) -> bool:
    return bool(capabilities.gpus) and not capabilities.gpus_lost and all(map(able, capabilities.gpus))


def _fields(
    capabilities: Capabilities, leftovers: Sequence[Journal], periods: Mapping[str, UpdatePeriod | None]
) -> dict[str, Any]:
    periods_s = {uuid: None if each is None else each.period_s for uuid, each in periods.items()}
    return {
        **asdict(capabilities),
        **({"update_period_s": periods_s} if periods else {}),
        "limits_unexplained": [gpu.uuid for gpu in _unexplained(capabilities, leftovers)],
        "journals": [{"uuid": each.uuid, "path": str(each.path), "told": each.detail} for each in leftovers],
    }


def _unexplained(capabilities: Capabilities, leftovers: Sequence[Journal]) -> list[GpuCapabilities]:
    """Return the GPUs whose power limit is not their default and which have no journal."""
    explained = {each.uuid for each in leftovers}
    return [
        gpu
        for gpu in capabilities.gpus
        if gpu.uuid not in explained
        and None not in (gpu.power_limit_w, gpu.default_power_limit_w)
        and abs((gpu.power_limit_w or 0) - (gpu.default_power_limit_w or 0)) > _SAME_W
    ]


def _show(console: Console, capabilities: Capabilities, leftovers: Sequence[Journal]) -> None:
    if capabilities.driver is None:
        console.print(f"GPUs: none ({capabilities.driver_missing})", markup=False)
    else:
        console.print(f"NVIDIA driver {capabilities.driver}, {len(capabilities.gpus)} GPUs", markup=False)
    if capabilities.gpus_lost:
        console.print(f"{capabilities.gpus_lost} GPUs do not respond: lost", markup=False)
    for gpu in capabilities.gpus:
        console.print(_table(gpu))
    domains = ", ".join(capabilities.rapl) if capabilities.rapl else f"none: {capabilities.rapl_missing}"
    console.print(f"CPU energy (RAPL): {domains}", markup=False)
    for gpu in _unexplained(capabilities, leftovers):
        console.print(
            f"GPU {gpu.index} ({gpu.uuid}) has a power limit of {gpu.power_limit_w:g} W, its default is "
            f"{gpu.default_power_limit_w:g} W, and no journal explains it: set by an operator, or left by a "
            "container whose folder is gone (nvidia-smi -pl sets it)",
            markup=False,
        )
    for each in leftovers:
        console.print(f"journal {each.path}: {each.detail}", markup=False)


def _table(gpu: GpuCapabilities) -> Table:
    table = Table(title=f"GPU {gpu.index}: {gpu.name}", title_justify="left", show_header=False)
    table.add_row("UUID", gpu.uuid + (" (divided by MIG)" if gpu.mig else ""))
    table.add_row("energy counter", "yes" if gpu.energy_counter else "no")
    table.add_row("instantaneous power", "yes" if gpu.instant_power else "no")
    table.add_row("power limit", _limit(gpu))
    table.add_row("SM clock lock", _range(gpu.sm_clock_range_mhz, "MHz"))
    table.add_row("may be set", _may_be_set(gpu))
    table.add_row("processes", ", ".join(map(str, gpu.processes)) or "none that the driver reports")
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


def _range(limits: tuple[float, float] | None, unit: str) -> str:
    return "cannot be set" if limits is None else f"{limits[0]:g} to {limits[1]:g} {unit}"
