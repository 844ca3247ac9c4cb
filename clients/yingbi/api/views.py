"""What one question of a batch sees of the plan that it may share with others."""

from __future__ import annotations

from yingbi.api.v1.job_pb2 import View
from yingbi.api.v1.plan_pb2 import Plan


def viewed(plan: Plan, view: View) -> Plan:
    """The plan with a view's columns, grouping sets and presentation in the place of its own, and nothing else.

    All three are computed from opened cells, so no price, no noise and no row depends on a view: whoever checked
    the plan need not trust who sent the view for any of them.
    """
    seen = Plan()
    seen.CopyFrom(plan)
    for name in ("outputs", "grouping_sets", "presentation"):
        seen.ClearField(name)
    seen.outputs.extend(view.outputs)
    seen.grouping_sets.extend(view.grouping_sets)
    if view.HasField("presentation"):
        seen.presentation.CopyFrom(view.presentation)
    return seen
