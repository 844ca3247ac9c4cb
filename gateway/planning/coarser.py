"""What to group by where the values of a date or timestamp are too many for enough units to share one."""

from __future__ import annotations

from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_DATE, COLUMN_TYPE_TIMESTAMP, Call, Expression

from gateway.planning.wording import text_of

_SPANS = {
    Call.FUNCTION_TRUNCATE_TO_WEEK: "month",
    Call.FUNCTION_TRUNCATE_TO_MONTH: "quarter",
    Call.FUNCTION_TRUNCATE_TO_QUARTER: "year",
}
"""For what is a span of days already, the next longer one."""


def coarser_dates(key: Expression) -> str | None:
    """A way to group by fewer dates, and one that needs no selection of values, as the middle of a sentence.

    None for what is no date, as far as the expression shows by itself.
    """
    column, span = key, "month"
    if key.HasField("call"):
        if key.call.function not in {Call.FUNCTION_TO_DATE, *_SPANS} or not key.call.operands[0].HasField("column"):
            return None
        column, span = key.call.operands[0], _SPANS.get(key.call.function, "month")
    if column.column.type not in (COLUMN_TYPE_DATE, COLUMN_TYPE_TIMESTAMP):
        return None
    name, written = text_of(column), text_of(key)
    if key == column and column.column.type == COLUMN_TYPE_TIMESTAMP:
        # Of a timestamp, no range is short enough to list.
        written = f"CAST({name} AS DATE)"
    return (
        f"group by DATE_TRUNC('{span}', {name}), or by {written} with a range in WHERE, as "
        f"{name} BETWEEN '2024-01-01' AND '2024-12-31', within which every value is a group"
    )
