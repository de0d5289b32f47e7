"""Options of a server, and its address."""

import pytest
from openai_cells import a_cell
from pydantic import ValidationError

from orchestrator.engines.openai.options import parse_address


@pytest.mark.parametrize(
    ("base_url", "root"),
    [
        ("http://node-7:8000/v1", "http://node-7:8000"),
        ("http://node-7:8000/v1/", "http://node-7:8000"),
        ("https://host", "https://host:443"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://gate/team-a/v1", "https://gate:443/team-a"),
    ],
)
def test_two_spellings_of_an_address_give_one_cell_id(base_url, root):
    assert parse_address(base_url).root == root
    one, other = a_cell(base_url), a_cell(root)
    assert one.cell_id == other.cell_id
    assert one.engine.exclusive == root


@pytest.mark.parametrize("base_url", ["node-7:8000", "ftp://host", "http://", "http://me:pw@host", "http://host?key=1"])
def test_an_invalid_address_is_refused(base_url):
    with pytest.raises(ValidationError, match="base_url"):
        a_cell(base_url)


def test_a_server_runs_on_the_wall_clock_and_simulates_nothing():
    cell = a_cell("http://host")
    assert cell.engine.clock == "wall"
    assert not cell.engine.simulated
    assert not cell.engine.uses_gpus
