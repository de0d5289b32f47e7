"""Where the joules went: only what occurs has a place in the legend."""

from orchestrator.report import interactive, static
from orchestrator.report.cell_charts import energy_split
from orchestrator.report.detail import Share


def share(**parts):
    return Share(panel="p", label="best", parts=parts, total="9 J per workflow")


def legends(*shares):
    chart = energy_split(shares)
    shown = {trace.name for trace in interactive.draw(chart, simulated=True).data if trace.showlegend}
    (legend,) = static.draw(chart, simulated=True).legends
    return shown, {text.get_text() for text in legend.get_texts()}


def test_the_legend_names_what_occurs_and_not_what_rounding_leaves():
    only_work = share(prefill=0.3, decode=0.7 - 2e-16, idle=0.0, **{"not attributed": 2e-16})
    assert legends(only_work) == ({"prefill", "decode"},) * 2
    assert legends(only_work, share(prefill=0.3, decode=0.6, idle=0.1)) == ({"prefill", "decode", "idle"},) * 2
