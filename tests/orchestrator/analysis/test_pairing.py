from analysis_cells import a_measured

from orchestrator.analysis.pairs import pair


def a_grid(caps=(200, 400), **config):
    return [
        a_measured(engine__max_num_seqs=batch, hardware__power_limit_w=cap, **config)
        for batch in (1, 8)
        for cap in caps
    ]


def levels(pairing, key):
    return [(one.a.config[key], one.b.config[key]) for one in pairing.pairs]


def test_equal_cells_are_paired_and_the_others_have_no_partner():
    a, b = a_grid(), a_grid(caps=(400, 300))
    found = pair(a, b)

    assert (
        [one.a.cell_id for one in found.pairs] == [one.b.cell_id for one in found.pairs] == [a[1].cell_id, a[3].cell_id]
    )
    assert [cell.config["hardware.power_limit_w"] for cell in found.only_a] == [200, 200]
    assert [cell.config["hardware.power_limit_w"] for cell in found.only_b] == [300, 300]
    assert (found.differing, found.n_ambiguous) == ({}, 0)


def test_keys_on_which_the_sweeps_differ_as_a_whole_are_set_aside():
    found = pair(a_grid(hardware__name="old", engine__block_size=16), a_grid(hardware__name="new"))

    assert len(found.pairs) == 4
    assert all(one.a.config["engine.max_num_seqs"] == one.b.config["engine.max_num_seqs"] for one in found.pairs)
    assert found.differing == {"hardware.name": (("old",), ("new",)), "engine.block_size": (("16",), ("absent",))}


def test_repeats_are_paired_by_repeat_and_share_a_configuration():
    a, b = ([cell for i in range(3) for cell in a_grid(repeat=i, hardware__name=name)] for name in ("old", "new"))
    found = pair(a, b[:-1])

    assert levels(found, "repeat") == [(i, i) for i in (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2)]
    assert len({one.configuration for one in found.pairs}) == 4
    assert found.only_a == (a[-1],)


def test_caps_of_different_gpus_are_paired_by_their_share_of_the_maximum():
    small = a_grid(caps=(200, 400, None), hardware__name="small", hardware__max_power_limit_w=400)
    small = [
        a_measured(**{k.replace(".", "__"): v for k, v in c.config.items()}, hardware__default_power_limit_w=300)
        for c in small
    ]
    large = a_grid(
        caps=(400, 800, 600),
        hardware__name="large",
        hardware__max_power_limit_w=800,
        hardware__default_power_limit_w=700,
    )
    found = pair(small, large)

    assert levels(found, "hardware.power_limit_w") == [(200, 400), (400, 800), (None, 600)] * 2
    assert found.caps_as_shares


def test_caps_in_the_same_watts_are_paired_in_watts():
    small, large = (
        a_grid(hardware__name=name, hardware__max_power_limit_w=most) for name, most in (("small", 400), ("large", 800))
    )
    found = pair(small, large)
    assert levels(found, "hardware.power_limit_w") == [(200, 200), (400, 400)] * 2
    assert not found.caps_as_shares


def test_a_cell_with_several_possible_partners_has_none():
    found = pair(a_grid(caps=(100, 200)), a_grid(caps=(300, 400)))
    assert (found.pairs, found.n_ambiguous) == ((), 8)


def test_declared_keys_take_the_place_of_those_found():
    a, b = [a_measured(engine__max_num_seqs=4, load__users=8)], [a_measured(engine__max_num_seqs=4, load__users=16)]
    assert len(pair(a, b, declared=["load"]).pairs) == 1
    assert pair(a, b, declared=["engine"]).pairs == ()
