"""Rules for windows: numbers made of several rows of the opened answer. No privacy depends on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from yingbi.api.v1.plan_pb2 import Formula, Frame, OutputOrdering, Plan, Window

from enclave_sim.plan.errors import PlanError, require

MAX_ORDERINGS = 64
MAX_PLACES = 200_000
"""How far a frame, LAG or LEAD may reach, and the parts of TILE: as many as an answer has rows."""

_NO_OPERAND = (0, 0)
_OPERAND = (1, 1)
_OPERANDS: Mapping[Window.Function.ValueType, tuple[int, int]] = {
    Window.FUNCTION_ROW_NUMBER: _NO_OPERAND,
    Window.FUNCTION_RANK: _NO_OPERAND,
    Window.FUNCTION_DENSE_RANK: _NO_OPERAND,
    Window.FUNCTION_PERCENT_RANK: _NO_OPERAND,
    Window.FUNCTION_CUMULATIVE_DISTRIBUTION: _NO_OPERAND,
    Window.FUNCTION_TILE: _NO_OPERAND,
    Window.FUNCTION_LAG: (1, 2),
    Window.FUNCTION_LEAD: (1, 2),
    Window.FUNCTION_FIRST: _OPERAND,
    Window.FUNCTION_LAST: _OPERAND,
    Window.FUNCTION_COUNT_ROWS: _NO_OPERAND,
    Window.FUNCTION_COUNT: _OPERAND,
    Window.FUNCTION_SUM: _OPERAND,
    Window.FUNCTION_MEAN: _OPERAND,
    Window.FUNCTION_MINIMUM: _OPERAND,
    Window.FUNCTION_MAXIMUM: _OPERAND,
}
"""The fewest and the most operands of each function."""

_SHIFTED = frozenset({Window.FUNCTION_LAG, Window.FUNCTION_LEAD})
_FRAMED = frozenset(
    {Window.FUNCTION_FIRST, Window.FUNCTION_LAST, Window.FUNCTION_COUNT_ROWS, Window.FUNCTION_COUNT}
    | {Window.FUNCTION_SUM, Window.FUNCTION_MEAN, Window.FUNCTION_MINIMUM, Window.FUNCTION_MAXIMUM}
)


def check_window(plan: Plan, window: Window, path: str, check_number: Callable[[Formula, str], None]) -> None:
    """Refuse a window that is ill-formed or names a key that is not there.

    Args:
        check_number: refuses a formula that is no number, or has a window in it.

    Raises:
        PlanError: with the path of the part at fault.
    """
    counts = _OPERANDS.get(window.function)
    if counts is None:
        raise PlanError(f"{path}.function", "is not known")
    least, most = counts
    require(least <= len(window.operands) <= most, f"{path}.operands", f"must be {least} to {most}")
    for index, operand in enumerate(window.operands):
        check_number(operand, f"{path}.operands[{index}]")
    keys = window.partition_by
    require(all(key < len(plan.group_by) for key in keys), f"{path}.partition_by", "has what is no index of group_by")
    require(len(window.order_by) <= MAX_ORDERINGS, f"{path}.order_by", f"has more than {MAX_ORDERINGS} orderings")
    for index, ordering in enumerate(window.order_by):
        _check_ordering(plan, ordering, f"{path}.order_by[{index}]", check_number)
    _check_offset(window, f"{path}.offset")
    _check_frame(window, f"{path}.frame")


def _check_ordering(
    plan: Plan, ordering: OutputOrdering, path: str, check_number: Callable[[Formula, str], None]
) -> None:
    match ordering.WhichOneof("kind"):
        case "key":
            require(ordering.key < len(plan.group_by), f"{path}.key", "is no index of group_by")
        case "formula":
            check_number(ordering.formula, f"{path}.formula")
        case _:
            raise PlanError(path, "must be a key or a formula")


def _check_offset(window: Window, path: str) -> None:
    require(window.offset <= MAX_PLACES, path, f"must be at most {MAX_PLACES:,}")
    if window.function == Window.FUNCTION_TILE:
        require(window.offset >= 1, path, "must be at least 1")
    elif window.function not in _SHIFTED:
        require(window.offset == 0, path, "is for LAG, LEAD and TILE")


def _check_frame(window: Window, path: str) -> None:
    frame = window.frame
    if window.function not in _FRAMED:
        require(not window.HasField("frame"), path, "is for functions of a frame")
        return
    for end in _ends(frame):
        require(abs(end) <= MAX_PLACES, path, f"must reach at most {MAX_PLACES:,} rows")
        require(end == 0 or not frame.peers, path, "must end at the row's equals, or nowhere")
    if len(_ends(frame)) == 2:
        require(frame.start <= frame.end, path, "must not end before it starts")


def _ends(frame: Frame) -> tuple[int, ...]:
    return tuple(getattr(frame, name) for name in ("start", "end") if frame.HasField(name))
