"""One description, two drawings: what a chart says is on the page and in the PNG."""

import math

import pytest

from orchestrator.report import interactive, plot, static


def a_chart(layers, **more):
    x = plot.Scale(title="x", ticks={1.0: "one", 100.0: "hundred"}, extent=(1.0, 100.0), log=True)
    panels = [plot.Panel(title=f"p{i}", x=x, y=plot.Scale(title="y", extent=(9, 0)), layers=layers) for i in range(3)]
    return plot.Chart(title="t", panels=panels, columns=2, row_px=[100, 100], size_in=(6, 4), **more)


def a_line(name, **more):
    return plot.Line(
        xs=[1, 10], ys=[2, 3], colour=plot.BLUE, name=name, width=2, marker="square", halves=[0.5, math.nan], **more
    )


def test_scales_ticks_and_titles_of_outer_panels():
    chart = a_chart([a_line("a")])
    page, printed = interactive.draw(chart, simulated=False), static.draw(chart, simulated=False)
    assert page.layout.xaxis.type == "log"
    assert page.layout.xaxis.range == pytest.approx((0, 2))
    assert page.layout.xaxis.ticktext == ("one", "hundred")
    assert page.layout.yaxis.range == (9, 0)
    assert [page.layout[f"xaxis{i}"].title.text for i in ("", 2, 3)] == ["", "x", "x"]
    assert [page.layout[f"yaxis{i}"].title.text for i in ("", 2, 3)] == ["y", "", "y"]
    first, second, third, fourth = printed.axes
    assert (first.get_xscale(), first.get_xlim(), first.get_ylim()) == ("log", (1, 100), (9, 0))
    assert [label.get_text() for label in first.get_xticklabels()] == ["one", "hundred"]
    assert [axes.get_xlabel() for axes in (first, second, third)] == ["", "x", "x"]
    assert not fourth.get_visible()


def test_a_name_is_in_the_legend_once_and_error_bars_are_drawn():
    chart = a_chart([a_line("a"), a_line("b")])
    page, printed = interactive.draw(chart, simulated=False), static.draw(chart, simulated=False)
    assert [trace.name for trace in page.data if trace.showlegend] == ["a", "b"]
    assert page.data[0].error_y.array == pytest.approx((0.5, math.nan), nan_ok=True)
    assert page.data[0].marker.symbol == "square"
    (legend,) = printed.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    assert printed.axes[0].containers[0].has_yerr


def test_a_choice_shows_its_lines_alone_and_a_png_the_first():
    chart = a_chart([a_line("a", choice="high"), a_line("a", choice="low"), a_line("b")], choices=("high", "low"))
    page, printed = interactive.draw(chart, simulated=False), static.draw(chart, simulated=True)
    assert [trace.visible for trace in page.data][:3] == [True, False, True]
    (menu,) = page.layout.updatemenus
    assert [button.label for button in menu.buttons] == ["high", "low"]
    assert menu.buttons[1].args[0]["visible"][:3] == [False, True, True]
    assert [trace.showlegend for trace in page.data][:3] == [True, True, True]
    assert len(printed.axes[0].containers) == 2
    assert printed.get_suptitle() == "t at high  [SIMULATED]"


def test_texts_are_no_markup_and_hover_is_what_the_layer_says():
    note = plot.Note(x=10, y=2, text="<b>", right_px=-5)
    chart = a_chart([a_line("<i>", hover=["<u>\n1", "2"]), note])
    page = interactive.draw(chart, simulated=False)
    assert page.data[0].name == "&lt;i&gt;"
    assert page.data[0].customdata == ("&lt;u&gt;<br>1", "2")
    texts = {annotation.text: annotation for annotation in page.layout.annotations}
    assert texts["&lt;b&gt;"].x == pytest.approx(1)
    assert "p0" in texts
    assert "<b>" in {text.get_text() for text in static.draw(chart, simulated=False).axes[0].texts}
