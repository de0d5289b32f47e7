"""The axes of a sweep: the configuration keys that vary; two numeric ones span a panel, the others make panels."""

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

GROUPS = ("workflow.kind", "model.name", "hardware.name", "engine.kind", "load.kind")
"""Keys that name a choice from a configuration group; keys that only follow from one of them are not axes."""

CAP = "hardware.power_limit_w"
_PREFERRED = ("engine.max_num_seqs", "hardware.power_limit_w")
_TITLES = {
    "engine.max_num_seqs": ("maximum batch size (max_num_seqs)", "seqs"),
    "hardware.power_limit_w": ("GPU power cap (W)", "W"),
    "hardware.sm_clock_mhz": ("SM clock lock (MHz)", "MHz"),
    "load.users": ("concurrent users", "users"),
    "load.request_rate": ("arrival rate (workflows/s)", "workflows/s"),
    "engine.tensor_parallel_size": ("tensor parallel size (GPUs)", "GPUs"),
}
_SINGULAR = {"seqs": "seq", "users": "user", "GPUs": "GPU", "workflows/s": "workflow/s"}
_SUFFIXES = {"_w": "W", "_mhz": "MHz", "_s": "s", "_ms": "ms", "_tokens": "tok", "_gib": "GiB"}


@dataclass(frozen=True, slots=True)
class Axis:
    """A key that varies, with its levels: numbers in ascending order, others in the order of the sweep."""

    key: str
    levels: tuple[Any, ...]
    numeric: bool

    @property
    def title(self) -> str:
        """Return the title of the axis in a figure, with its unit."""
        if self.key in _TITLES:
            return _TITLES[self.key][0]
        unit = _unit(self.key)
        return f"{self.key} ({unit})" if unit else self.key

    @property
    def brief(self) -> str:
        """Return the key without its group, for small panels."""
        return _short(self.key)

    def label(self, level: Any) -> str:
        """Return one level in words: ``16 seqs``, ``240 W``, ``chain_summary``, ``seed 3``."""
        if not self.numeric:
            return str(level) if self.key in GROUPS else f"{_short(self.key)} {level}"
        unit = _TITLES[self.key][1] if self.key in _TITLES else _unit(self.key)
        if not unit:
            return f"{_short(self.key)} {level:g}"
        return f"{level:g} {_SINGULAR.get(unit, unit) if level == 1 else unit}"


@dataclass(frozen=True, slots=True)
class Axes:
    """``x`` and ``y`` span a panel (either may be None); every combination of ``panels`` has its own."""

    x: Axis | None
    y: Axis | None
    panels: tuple[Axis, ...]

    @property
    def all(self) -> tuple[Axis, ...]:
        """Return all axes, those of the panels first."""
        return tuple(axis for axis in (*self.panels, self.x, self.y) if axis is not None)

    def panel_name(self, row: pd.Series) -> str:
        """Return the name of the panel of a cell."""
        named = [axis.label(row[axis.key]) for axis in self.panels]
        return " · ".join(named) if named else str(row.get("workflow.kind", "all cells"))

    def point_label(self, row: pd.Series) -> str:
        """Return the place of a cell in its panel: ``16 seqs, 240 W``."""
        named = [axis.label(row[axis.key]) for axis in (self.x, self.y) if axis is not None]
        return ", ".join(named) if named else "the only point"


def with_plain_levels(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with comparable configuration: default caps in watts, lists as JSON, unset keys as 'default'."""
    plain = frame.copy()
    cap, default = "hardware.power_limit_w", "hardware.default_power_limit_w"
    if default in plain:
        known = plain[cap] if cap in plain else pd.Series(float("nan"), index=plain.index)
        plain[cap] = pd.to_numeric(known.astype(object)).fillna(pd.to_numeric(plain[default]))
    for key in _configuration(plain):
        if plain[key].isna().any() and not plain[key].isna().all():
            plain[key] = plain[key].astype(object).where(plain[key].notna(), "default")
        if plain[key].dtype == object:
            plain[key] = plain[key].map(_hashable).astype(object)
    return plain


def find_axes(frame: pd.DataFrame, swept: Sequence[str] = ()) -> Axes:
    """Return the axes of a frame of ``with_plain_levels``; keys and groups in ``swept`` are axes whenever they vary."""
    of_group = {key.partition(".")[0]: key for key in GROUPS}
    swept = [of_group.get(key, key) for key in swept]
    kept: list[str] = []
    configuration = _configuration(frame)
    ordered = [key for key in swept if key in configuration]
    ordered += [key for key in (*GROUPS, *_PREFERRED, *configuration) if key in configuration]
    for key in dict.fromkeys(ordered):
        if frame[key].nunique(dropna=False) < 2:
            continue
        if key in swept or not any(_follows(frame, key, other) for other in kept):
            kept.append(key)
    axes = [_axis(frame, key) for key in kept]
    numeric = sorted((axis for axis in axes if axis.numeric), key=_rank)
    spanned = sorted(numeric[:2], key=lambda axis: axis.key == _PREFERRED[1])
    panels = tuple(axis for axis in axes if axis not in spanned)
    return Axes(spanned[0] if spanned else None, spanned[1] if len(spanned) > 1 else None, panels)


def _rank(axis: Axis) -> tuple[int, int]:
    place = _PREFERRED.index(axis.key) if axis.key in _PREFERRED else len(_PREFERRED)
    return (-len(axis.levels), place)


def _configuration(frame: pd.DataFrame) -> list[str]:
    return [key for key in frame.columns if "." in key]


def _follows(frame: pd.DataFrame, key: str, other: str) -> bool:
    return bool((frame.groupby(other, dropna=False)[key].nunique(dropna=False) <= 1).all())


def _axis(frame: pd.DataFrame, key: str) -> Axis:
    levels = list(dict.fromkeys(frame[key].tolist()))
    numeric = all(isinstance(level, int | float) and not isinstance(level, bool) for level in levels)
    return Axis(key, tuple(sorted(levels) if numeric else levels), numeric)


def _hashable(value: Any) -> Hashable:
    return value if isinstance(value, str | int | float | bool) else json.dumps(value, sort_keys=True, default=str)


def _short(key: str) -> str:
    return key.rsplit(".", 1)[-1]


def _unit(key: str) -> str:
    return next((unit for suffix, unit in _SUFFIXES.items() if key.endswith(suffix)), "")
