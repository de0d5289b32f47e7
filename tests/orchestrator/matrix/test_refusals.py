"""Wrong input: one line that names the key, the value and what is allowed, before anything is written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.matrix.validate import infeasible_cells
from orchestrator.spec.settings import Matrix, Settings

Refused = Callable[..., str]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("engine.max_num_seq=3", "engine.max_num_seq: unknown key; did you mean max_num_seqs? allowed: clock, enable_"),
        ("+engine.max_num_seq=3", "engine.max_num_seq: unknown key; did you mean max_num_seqs? allowed: block_size, "),
        ("engin.max_num_seqs=3", "engin: unknown key; did you mean engine? allowed: cluster, collectors, engine, "),
        ("+bogus=3", "bogus: unknown key; allowed: cluster, collectors, "),
        ("model.dtype=float16", "model.dtype: this preset leaves it to its default; add it as +model.dtype=VALUE"),
        ("engine=benhc", "engine=benhc: there is no 'benhc' in conf/engine; did you mean bench? allowed: auto, bench"),
        ("+sweep=bach", "sweep=bach: there is no 'bach' in conf/sweep; did you mean batch? allowed: batch, "),
        ("sweep=batch", "To append to your default list use +sweep=batch"),
        ("engine.max_num_seqs=0", "engine.max_num_seqs: must be at least 1, got 0"),
        ("engine.max_num_seqs=abc", "engine.max_num_seqs: must be a whole number, got 'abc'"),
        ("engine.max_num_seqs=2.5", "engine.max_num_seqs: must be a whole number, got 2.5"),
        ("engine.max_num_seqs=[1,2]", "engine.max_num_seqs: must be a whole number, got [1, 2]; values to sweep over"),
        ("engine.max_num_seqs=true", "engine.max_num_seqs: must be a number, got True"),
        ("hardware.memory_gib=inf", "hardware.memory_gib: must be a finite number, got inf"),
        ("hardware.calibration.static_power_w=inf", "hardware.calibration.static_power_w: must be a finite number"),
        ("engine.clock=sundial", "engine.clock: must be 'virtual' or 'wall', got 'sundial'"),
        ("load.users=0", "load.users: must be at least 1, got 0"),
        ("load.kind=opne", "load.kind: must be one of 'closed', 'poisson', 'replay', got 'opne'"),
        ("load.num_workflows=x", "load.num_workflows: must be a whole number, got 'x'"),
        ("~load.num_workflows", "load.num_workflows: is missing; give it a value"),
        ("hardware.power_limit_w=-5", "hardware.power_limit_w must be 100 to 400 W on bench-gpu, got -5"),
        ("hardware.power_limit_w=500", "hardware.power_limit_w must be 100 to 400 W on bench-gpu, got 500"),
        ("hardware.power_limit_w=110%", "hardware.power_limit_w must be 100 to 400 W on bench-gpu, got 440"),
        ("hardware.power_limit_w=abc", "hardware.power_limit_w: must be watts or a share of the maximum such as 60%"),
        ("hardware.sm_clock_mhz=90", "hardware.sm_clock_mhz must be 210 to 1410 on bench-gpu, got 90"),
        ("hardware.calibration.static_power_w=0", "hardware.calibration.static_power_w: must be more than 0, got 0"),
        ("workflow.kind=nope", "workflow.kind: no workflows.library plug-in 'nope'; allowed: "),
        ("workflow.prompt_tokens=0", "workflow.prompt_tokens: must be at least 1, got 0"),
        ("+workflow.prompt=3", "workflow.prompt: unknown key; "),
        (
            "protocol.order=sorted",
            "protocol.order: must be 'shuffled', 'counterbalanced' or 'fewest_starts', got 'sorted'",
        ),
        ("protocol.max_attempts=0", "protocol.max_attempts: must be at least 1, got 0"),
        ("tracking.enabled=perhaps", "tracking.enabled: must be true or false, got 'perhaps'"),
        ("model.config_path=3", "model.config_path: must be the path of a config.json, got 3"),
        ("seed", "'seed' is not an override: missing EQUAL at '<EOF>'; write key=value"),
        ("engine.max_num_seqs=range(1,", "is not an override: "),
        ("engine.max_num_seqs=1,2", "engine.max_num_seqs=1,2: several values are a sweep, which needs -m"),
        ("model.name=${nowhere}", "Interpolation key 'nowhere' not found"),
    ],
)
def test_a_wrong_argument(refused: Refused, argument: str, message: str) -> None:
    assert message in refused(argument)


def test_a_cap_on_a_gpu_without_one(refused: Refused) -> None:
    refusal = refused("hardware=uncapped", "hardware.power_limit_w=50%")
    assert refusal == "hardware.power_limit_w: uncapped-gpu has no power limit that can be set, got 200"


def test_several_errors_are_counted(refused: Refused) -> None:
    assert refused("engine.max_num_seqs=x", "load.users=y").endswith("got 'x' (and 1 more)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("+sweep=batch", "engine.max_num_seqs=1,abc"), "engine.max_num_seqs: must be a whole number, got 'abc'"),
        (("+sweep=batch", "hardware.power_limit_w=50%,900"), "must be 100 to 400 W on bench-gpu, got 900"),
        (("+sweep=batch", "engine=bench,benhc"), "engine=benhc: there is no 'benhc' in conf/engine"),
        (("+sweep=batch", "engine.max_num_seq=1,2"), "engine.max_num_seq: unknown key; did you mean max_num_seqs?"),
        (("+sweep=batch", "model.head_dim=interval(1,9)"), "an interval has no points; give a list, range() or choice"),
        (("+sweep=batch", "seed=range(3,3)"), "seed=range(3,3): no value; the range is empty"),
        (("+sweep=batch", "workflow=glob(zz*)"), "workflow=glob(zz*): no value; the range is empty or the glob"),
        (("+sweep=batch", "tracking.enabled=true,false"), "tracking.enabled: holds for the whole sweep and cannot be"),
    ],
)
def test_a_wrong_axis(refused: Refused, arguments: tuple[str, ...], message: str) -> None:
    assert message in refused(*arguments)


def test_a_misspelt_sweep_among_several(refused: Refused) -> None:
    assert "sweep=sedes: there is no 'sedes' in conf/sweep" in refused("+sweep=batch,sedes", flags=("-m",))


GLOBAL = "# @package _global_\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GLOBAL + "hydra:\n  mode: [MULTIRUN\n", "wrong.yaml, line 4: this YAML cannot be read: "),
        (GLOBAL + "hydra: {mode: MULTIRUN, sweeper: {params: [1, 2]}}\n", "sweep/wrong.yaml: Cannot merge DictConfig"),
        (GLOBAL + "hydra: {mode: MULTIRUN, sweeper: {parms: {seed: 1}}}\n", "unknown key; did you mean params?"),
        (GLOBAL + "hydra: {mode: SIDEWAYS}\n", "sweep/wrong.yaml: hydra.mode: Invalid value 'SIDEWAYS'"),
        (GLOBAL + "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '1,,2'}}}\n", "'seed=1,,2' is not an override: "),
        (
            GLOBAL + "hydra: {mode: MULTIRUN, sweeper: {params: {sede: '1,2'}}}\n",
            "sede: unknown key; did you mean seed?",
        ),
        (GLOBAL + "- seed\n", "sweep/wrong.yaml: Cannot merge DictConfig with ListConfig"),
        (GLOBAL + "defaults: seeds\n", "Invalid defaults list in 'sweep/wrong', defaults must be a list"),
        ("just words\n", "sweep: a sweep file begins with `# @package _global_`"),
        ("", "sweep: a sweep file begins with `# @package _global_`"),
    ],
)
def test_a_malformed_sweep_file(refused: Refused, presets: Path, text: str, message: str) -> None:
    (presets / "sweep" / "wrong.yaml").write_text(text)
    assert message in refused("+sweep=wrong")


def test_a_sweep_file_that_is_not_text(refused: Refused, presets: Path) -> None:
    (presets / "sweep" / "wrong.yaml").write_bytes(b"\xff\xfe\x00")
    assert "a configuration file is not UTF-8 text" in refused("+sweep=wrong")


def test_a_request_longer_than_the_context(refused: Refused) -> None:
    refusal = refused("workflow.prompt_tokens=9000")
    assert refusal == (
        "workflow bench_plugins.work: its longest request has 9100 tokens, more than the 8192 of model.max_model_len "
        "on bench-8b; set model.max_model_len=9100 or choose a shorter workload"
    )


def test_a_trace_that_cannot_be_read(refused: Refused) -> None:
    refusal = refused("+workflow.trace=rows.csv")
    assert refusal == "workflow bench_plugins.work: trace rows.csv cannot be read: no column 'arrival_s'"


def test_a_replay_without_arrivals(refused: Refused) -> None:
    assert "workflow bench_plugins.work: load.kind=replay needs recorded arrivals" in refused(
        "load=replay", "load.num_workflows=null"
    )


def test_a_plugin_that_cannot_be_imported(refused: Refused) -> None:
    refusal = refused("engine.kind=bench_plugins.torn")
    assert refusal == "engine.kind: plug-in bench_plugins.torn cannot be imported: No module named 'no_such_module'"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("broken", "engine.kind: plug-in bench_plugins.broken cannot be imported: ZeroDivisionError: division by zero"),
        ("exits", "engine.kind: plug-in bench_plugins.exits cannot be imported: SystemExit: 7 ("),
        ("garbage", "engine.kind: plug-in bench_plugins.garbage: AttributeError: 'int' object has no attribute"),
    ],
)
def test_a_plugin_whose_module_goes_wrong(refused: Refused, kind: str, message: str) -> None:
    assert refused(f"engine.kind=bench_plugins.{kind}").startswith(message)


@pytest.mark.parametrize(
    "argument", ["hardware.power_limit_w=300", "hardware.power_limit_w=60%", "hardware.sm_clock_mhz=900"]
)
def test_a_limit_where_there_is_no_gpu_is_one_line_whatever_the_engine(refused: Refused, argument: str) -> None:
    key, _, value = argument.partition("=")
    assert refused("hardware=cpu", argument) == (
        f"{key} must be null on a CPU, which has no GPU to set, got {value}; leave it null, or choose a GPU with "
        "hardware="
    )


@pytest.mark.parametrize(
    ("trace", "message"),
    [("a bug", "KeyError: 'a bug' ("), ("exit", "SystemExit: 5 ("), ("nothing", "AttributeError: 'NoneType' object")],
)
def test_a_workflow_whose_build_goes_wrong(refused: Refused, trace: str, message: str) -> None:
    refusal = refused(f"+workflow.trace={trace}")
    assert refusal.startswith(f"plug-in bench_plugins.work: {message}")


def test_an_engine_whose_check_goes_wrong(composed: Callable[..., tuple[Matrix, Settings]]) -> None:
    matrix, _ = composed("engine.kind=bench_plugins.faulty")
    with pytest.raises(UserError, match=r"plug-in bench_plugins.faulty: SystemExit: 4 \(.*faulty.py:7 in check\)"):
        infeasible_cells(matrix.cells)


def test_a_plugin_without_options(refused: Refused) -> None:
    refusal = refused("engine.kind=bench_plugins.bare")
    assert (
        refusal
        == "engine.kind: plug-in bench_plugins.bare has no Options, which every plug-in of orchestrator.engines needs"
    )


def test_a_workflow_plugin_without_a_source(refused: Refused, presets: Path) -> None:
    (presets / "workflow" / "unbuilt.yaml").write_text("kind: bench_plugins.unbuilt\n")
    refusal = refused("workflow=unbuilt")
    assert refusal == "plug-in bench_plugins.unbuilt has no build, which every plug-in of workflows.library needs"


def test_a_folder_of_presets_that_is_not_there(presets: Path) -> None:
    from orchestrator.matrix.compose import compose

    with pytest.raises(UserError, match=r"Additional config directory '.*/nowhere' not found"):
        compose(["--config-dir", "nowhere"])
    with pytest.raises(UserError, match=r"unrecognized arguments: --frobnicate$"):
        compose(["--frobnicate"])
    with pytest.raises(
        UserError, match=r"unrecognized arguments: repeat=1; options such as -m go before all overrides"
    ):
        compose(["seed=1,2", "-m", "repeat=1"])
