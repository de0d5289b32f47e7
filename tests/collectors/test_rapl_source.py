"""Energy counters of CPU packages and DRAM, in a folder laid out as the kernel does."""

import os
from itertools import pairwise
from pathlib import Path

import pytest

from collectors.errors import CollectorError
from collectors.sources import SourceSpec, rapl

RANGE_UJ = 262_143_328_850


def zone(root: Path, folder: str, name: str, energy_uj: int) -> Path:
    made = root / folder
    made.mkdir(parents=True)
    (made / "name").write_text(f"{name}\n")
    (made / "energy_uj").write_text(f"{energy_uj}\n")
    (made / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two sockets, one of them with DRAM, and zones that overlap with them."""
    for folder, name, energy_uj in (
        ("intel-rapl:0", "package-0", 5_000_000),
        ("intel-rapl:0:0", "core", 1),
        ("intel-rapl:0:1", "dram", 7_000_000),
        ("intel-rapl:1", "package-1", 9_000_000),
        ("intel-rapl:2", "psys", 2),
        ("intel-rapl-mmio:0", "package-0", 3),
    ):
        zone(tmp_path, folder, name, energy_uj)
    (tmp_path / "intel-rapl").mkdir()
    return tmp_path


def energy_j(source: rapl.RaplSource, device: str) -> float:
    return source.read(device).values["energy_j"]


def test_packages_and_their_dram_are_read_once(root):
    with rapl.build((), root) as source:
        assert source.devices == ("dram-0", "package-0", "package-1")
        assert [energy_j(source, device) for device in source.devices] == [7.0, 5.0, 9.0]
        assert source.series == "cpu_power"
        assert source.processes("package-0") == ()


def test_named_devices_only(root):
    assert rapl.build(["package-1"], root).devices == ("package-1",)
    with pytest.raises(CollectorError, match=r"no CPU energy counter dram-1: there are dram-0, package-0, package-1"):
        rapl.build(["dram-1"], root)


def test_a_counter_is_unwrapped(root):
    counter = root / "intel-rapl:0" / "energy_uj"
    with rapl.build(["package-0"], root) as source:
        energies_j = []
        for energy_uj in (RANGE_UJ - 1_000_000, 2_000_000, 4_000_000, 1_000_000):
            counter.write_text(f"{energy_uj}\n")
            energies_j.append(energy_j(source, "package-0"))
    assert [round(after - before, 6) for before, after in pairwise(energies_j)] == [
        3.0,
        2.0,
        round(RANGE_UJ / 1e6 - 3, 6),
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_without_permission_there_is_a_note_and_no_value(root):
    (root / "intel-rapl:0" / "energy_uj").chmod(0)
    _without_permission(root)


def test_a_permission_error_is_neither_an_error_nor_zero(root, monkeypatch):
    real = os.open

    def refusing(path, *arguments, **options):
        if str(path).endswith("intel-rapl:0/energy_uj"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refusing)
    _without_permission(root)


def _without_permission(root: Path) -> None:
    with rapl.build((), root) as source:
        refused, allowed = source.read("package-0"), source.read("package-1")
    assert refused.values == {}
    assert refused.errors == {}
    assert refused.notes == {
        "energy_j": f"{root}/intel-rapl:0/energy_uj is readable by root only: run as root, "
        "or `chmod a+r` it (a reboot undoes it)"
    }
    assert allowed.values == {"energy_j": 9.0}


def test_a_counter_that_cannot_be_read_is_an_error_with_its_name(root):
    (root / "intel-rapl:1" / "energy_uj").write_text("nothing\n")
    with rapl.build((), root) as source, pytest.raises(CollectorError, match="CPU energy of package-1"):
        source.read("package-1")


def test_a_machine_without_counters_says_so_in_one_line(tmp_path):
    with pytest.raises(CollectorError, match=f"no CPU energy counter: {tmp_path} has no intel-rapl zone"):
        SourceSpec("rapl", (), tmp_path).build()
