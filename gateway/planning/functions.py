"""Every kind of syntax and every function that can be asked, with its rule: the allow-list.

Nothing passes because it was not thought of: what is not named here is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlglot import exp
from yingbi.api.v1.plan_pb2 import Call

from gateway.planning import arithmetic, casts, choices, conditions, dates, texts
from gateway.planning.compiler import Compiler
from gateway.planning.scope import Term

_Rule = Callable[..., Term]

_OPERATORS: Mapping[type[exp.Expr], _Rule] = {
    exp.Column: conditions.column,
    exp.And: conditions.junction,
    exp.Or: conditions.junction,
    exp.Not: conditions.negation,
    exp.In: conditions.membership,
    exp.Between: conditions.between,
    exp.Is: conditions.is_,
    exp.NullSafeEQ: conditions.distinct,
    exp.NullSafeNEQ: conditions.distinct,
    exp.Like: conditions.like,
    exp.ILike: conditions.like,
    exp.Neg: arithmetic.negative,
    exp.Add: arithmetic.arithmetic,
    exp.Sub: arithmetic.arithmetic,
    exp.Mul: arithmetic.arithmetic,
    exp.Div: arithmetic.division,
    exp.IntDiv: arithmetic.division,
    exp.Mod: arithmetic.modulo,
    exp.DPipe: texts.concatenation,
    exp.Case: choices.case,
    exp.If: choices.if_,
    **dict.fromkeys(conditions.OPERATORS, conditions.comparison),
}
_FUNCTIONS: Mapping[type[exp.Expr], _Rule] = {
    exp.Abs: arithmetic.absolute,
    exp.Sign: arithmetic.sign,
    exp.Floor: arithmetic.whole_number(Call.FUNCTION_FLOOR),
    exp.Ceil: arithmetic.whole_number(Call.FUNCTION_CEILING),
    exp.Round: arithmetic.rounding,
    exp.Trunc: arithmetic.truncate,
    exp.Sqrt: arithmetic.square_root,
    exp.Ln: arithmetic.natural_logarithm,
    exp.Log: arithmetic.logarithm,
    exp.Pow: arithmetic.power,
    exp.WidthBucket: arithmetic.width_bucket,
    exp.Lower: texts.of_string(Call.FUNCTION_LOWER),
    exp.Upper: texts.of_string(Call.FUNCTION_UPPER),
    exp.Trim: texts.of_string(Call.FUNCTION_TRIM),
    exp.Length: texts.of_string(Call.FUNCTION_LENGTH),
    exp.Substring: texts.substring,
    exp.Left: texts.left,
    exp.Concat: texts.concat,
    exp.StartsWith: texts.matcher("{}%", "STARTS_WITH"),
    exp.EndsWith: texts.matcher("%{}", "ENDS_WITH"),
    exp.Contains: texts.matcher("%{}%", "CONTAINS"),
    exp.Extract: dates.extract,
    exp.TimestampTrunc: dates.truncated,
    exp.DateTrunc: dates.truncated,
    exp.DateDiff: dates.date_difference,
    **dict.fromkeys(dates.PART_NODES, dates.part_of_node),
    exp.Coalesce: choices.of_one_type(Call.FUNCTION_COALESCE),
    exp.Least: choices.of_one_type(Call.FUNCTION_LEAST),
    exp.Greatest: choices.of_one_type(Call.FUNCTION_GREATEST),
    exp.Nullif: choices.null_if,
    exp.Cast: casts.cast,
    exp.TryCast: casts.cast,
}
_BY_NAME: Mapping[str, tuple[int, _Rule]] = {
    "date_part": (2, dates.date_part),
    "datepart": (2, dates.date_part),
    "iff": (3, choices.iff),
    "prefix": (2, texts.matcher("{}%", "PREFIX")),
    "suffix": (2, texts.matcher("%{}", "SUFFIX")),
    **dict.fromkeys(dates.PARTS, (1, dates.part_by_name)),
}
"""Functions that sqlglot knows by name only, with how many operands they take."""


def compile_node(compiler: Compiler, node: exp.Expr) -> Term:
    """What a node that is no constant means.

    Raises:
        Problem: REFUSED "not_supported" for what is not on the list, or whatever is wrong with its operands.
    """
    rule = _OPERATORS.get(type(node)) or _FUNCTIONS.get(type(node))
    if rule is not None:
        return rule(compiler, node)
    if isinstance(node, exp.Anonymous):
        operands, named = _BY_NAME.get(node.name.lower(), (0, None))
        if named is not None and len(node.expressions) == operands:
            return named(compiler, node, *node.expressions)
    raise compiler.unsupported(node)
