"""What the engines of a cell take of a cluster together."""

from types import SimpleNamespace

from orchestrator.lanes.placement import Need, need_of


def _cell(*engines: SimpleNamespace, num_gpus: int = 8) -> SimpleNamespace:
    cells = {str(number): SimpleNamespace(engine=engine) for number, engine in enumerate(engines)}
    return SimpleNamespace(engine_cells=cells, hardware=SimpleNamespace(num_gpus=num_gpus))


def _engine(*, uses_gpus: bool = False, exclusive: str | None = None, tensor_parallel_size: int = 1) -> SimpleNamespace:
    return SimpleNamespace(uses_gpus=uses_gpus, exclusive=exclusive, tensor_parallel_size=tensor_parallel_size)


def test_gpus_add_up_over_the_engines_that_use_them():
    two, one, none = (_engine(uses_gpus=True, tensor_parallel_size=2), _engine(uses_gpus=True), _engine())
    assert need_of(_cell(two, one, none)) == Need(num_gpus=3)


def test_an_engine_without_gpus_to_use_takes_the_whole_node():
    assert need_of(_cell(_engine(), _engine(uses_gpus=True), num_gpus=0)) == Need(fills_node=True)


def test_every_server_is_had_alone():
    servers = (_engine(exclusive="http://a"), _engine(exclusive="http://b"), _engine())
    assert need_of(_cell(*servers)) == Need(exclusive=frozenset({"http://a", "http://b"}))
