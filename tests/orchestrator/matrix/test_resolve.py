"""What presets hold for other presets and not for a cell."""

from orchestrator.matrix.resolve import resolved


def test_defaults_of_a_load_are_no_options_of_a_workflow_nor_of_a_tenants():
    tenant = {"weight": 2, "workflow": {"kind": "copilot", "default_users": 1, "default_num_workflows": 9}}
    found = resolved({"workflow": {"kind": "composite", "default_users": 16, "tenants": {"a": tenant}}}, frozenset())
    assert found == {
        "workflow": {"kind": "composite", "tenants": {"a": {"weight": 2, "workflow": {"kind": "copilot"}}}}
    }
