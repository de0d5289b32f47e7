"""The keys of the protocol: what they expand to, what ``auto`` becomes, what they refuse."""

from collections.abc import Callable

from orchestrator.spec.settings import Matrix, Settings
from orchestrator.sweep.order import ordered

Composed = Callable[..., tuple[Matrix, Settings]]
MULTI = ("-m",)


def test_repeats_are_the_cells_block_by_block(composed: Composed) -> None:
    matrix, _ = composed("engine.max_num_seqs=1,2", "protocol.repeats=3", flags=MULTI)
    assert [(cell.repeat, cell.engine.max_num_seqs) for cell in matrix.cells] == [
        (repeat, size) for repeat in range(3) for size in (1, 2)
    ]
    assert matrix.swept == ("engine.max_num_seqs", "repeat")


def test_repeats_are_those_of_the_repeat_axis(composed: Composed) -> None:
    repeated, swept = (
        composed("engine.max_num_seqs=1,2", axis, flags=MULTI)[0]
        for axis in ("protocol.repeats=3", "repeat=range(0,3)")
    )
    assert {cell.cell_id for cell in repeated.cells} == {cell.cell_id for cell in swept.cells}
    assert len({cell.configuration for cell in repeated.cells}) == 2


def test_one_repeat_is_what_was_without(composed: Composed) -> None:
    plain, once = (composed(*arguments)[0] for arguments in ((), ("protocol.repeats=1",)))
    assert (once.cells, once.swept) == (plain.cells, plain.swept)


def test_repeats_beside_a_given_repeat_are_refused(refused: Callable[..., str]) -> None:
    refusal = "protocol.repeats: must be 1 where repeat is given, got 3; leave one of them out"
    assert refused("protocol.repeats=3", "repeat=range(0,2)", flags=MULTI) == refusal
    assert refused("protocol.repeats=3", "repeat=5") == refusal


def test_auto_is_nothing_new_on_a_computed_engine(composed: Composed) -> None:
    protocol = composed()[0].cells[0].protocol
    assert (protocol.warmup_s, protocol.max_repetitions, protocol.warms_up) == (0, 1, False)


def test_auto_warms_up_and_fills_the_window_of_a_real_engine(composed: Composed) -> None:
    real = ("engine=real", "collectors=none")
    protocol = composed(*real)[0].cells[0].protocol
    assert (protocol.warmup_s, protocol.max_repetitions) == (5.0, 20)
    given = composed(*real, "protocol.warmup_s=1", "protocol.max_repetitions=2")[0].cells[0].protocol
    assert (given.warmup_s, given.max_repetitions) == (1.0, 2)


def test_the_stop_rule_is_a_setting_and_in_no_id(composed: Composed) -> None:
    plain, _ = composed("protocol.repeats=9")
    ruled, settings = composed("protocol.repeats=9", "protocol.stop_when.metric=avg_gpu_power_w")
    assert [cell.cell_id for cell in ruled.cells] == [cell.cell_id for cell in plain.cells]
    assert settings.stop_when.metric == "avg_gpu_power_w"
    assert settings.stop_when.min_repeats == Settings().stop_when.min_repeats
    assert any("repeats: no more once the 95 % half-width of avg_gpu_power_w" in note for note in ruled.notes)


def test_a_stop_rule_that_can_stop_nothing_has_a_note(composed: Composed) -> None:
    matrix, _ = composed("protocol.repeats=2", "protocol.stop_when.metric=avg_gpu_power_w")
    assert any(note.startswith("protocol.stop_when stops nothing") for note in matrix.notes)


def test_the_stop_rule_names_its_keys_when_it_refuses(refused: Callable[..., str]) -> None:
    assert refused("protocol.stop_when.metric=energy").startswith("protocol.stop_when.metric: 'energy' is no metric")
    refusal = refused("protocol.stop_when.min_repeats=1")
    assert refusal.startswith("protocol.stop_when.min_repeats: must be at least ")
    assert refused("protocol.repeats=0") == "protocol.repeats: must be at least 1, got 0"


def test_counterbalanced_runs_every_second_block_backwards(composed: Composed) -> None:
    cells = composed(
        "engine.max_num_seqs=1,2,4,8", "hardware.power_limit_w=50%,100%", "protocol.repeats=5", flags=MULTI
    )
    order = [cell.configuration for cell in ordered(cells[0].cells, "counterbalanced")]
    blocks = [order[start : start + 8] for start in range(0, 40, 8)]
    assert blocks[1] == blocks[0][::-1]
    assert blocks[3] == blocks[2][::-1]
    assert blocks[2] != blocks[0]
    assert {frozenset(block) for block in blocks} == {frozenset(blocks[0])}


def test_counterbalanced_pairs_the_repeats_that_are_left(composed: Composed) -> None:
    cells = composed("engine.max_num_seqs=1,2,4,8", "protocol.repeats=4", flags=MULTI)[0].cells
    left = [cell for cell in cells if cell.repeat in (1, 2, 3)]
    order = ordered(left, "counterbalanced")
    assert [cell.repeat for cell in order] == [1] * 4 + [2] * 4 + [3] * 4
    order = [cell.configuration for cell in order]
    assert order[8:] == order[4:8][::-1]


def test_a_cool_down_without_a_temperature_sensor_has_a_note(composed: Composed) -> None:
    matrix, _ = composed("protocol.cooldown_below_c=45")
    assert (
        "protocol.cooldown: no cell waits beside collectors.power=simulated, which measures no temperature"
        in matrix.notes
    )
    assert composed()[0].notes == tuple(note for note in matrix.notes if not note.startswith("protocol."))
