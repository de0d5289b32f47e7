import xml.etree.ElementTree as ET

import pyarrow as pa

from orchestrator.report.sketch import sketch

SVG = "{http://www.w3.org/2000/svg}"
POWER = pa.table({"t_s": [0.0, 10.0, 20.0], "device": ["a"] * 3, "power_w": [100.0, 300.0, 300.0]})
ITERATIONS = pa.table({"start_s": [0.0, 10.0], "end_s": [10.0, 20.0], "decode_tokens": [50, 500]})


def drawn(power=POWER, iterations=ITERATIONS, cap_w=320.0):
    text = sketch(power, iterations, title="a < b", window_s=(5.0, 20.0), cap_w=cap_w)
    return ET.fromstring(text)


def test_power_and_tokens_share_an_axis_of_time():
    lines = drawn().findall(f"{SVG}polyline")
    power, tokens = ([tuple(map(float, p.split(","))) for p in line.get("points").split()] for line in lines)
    assert len(tokens) == 240
    assert power[0][1] > power[-1][1]  # it rises: y grows downwards
    base, slow, fast = 276.0, tokens[10][1], tokens[-10][1]
    assert round((base - fast) / (base - slow), 1) == 10.0


def test_words_units_cap_and_window_are_there():
    root = drawn()
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"a < b", "GPU power (W)", "output (tok/s)", "cap 320 W", "0 s"} <= set(texts)
    shaded = [rect for rect in root.findall(f"{SVG}rect") if rect.get("fill-opacity")]
    assert len(shaded) == 2
    assert not any("cap" in element.text for element in drawn(cap_w=None).iter(f"{SVG}text"))


def test_a_cell_without_iterations_or_power_is_drawn_as_far_as_it_goes():
    assert len(drawn(iterations=None).findall(f"{SVG}polyline")) == 1
    assert sketch(POWER.slice(0, 1), None, title="", window_s=None, cap_w=None) is None
