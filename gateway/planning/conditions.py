"""Comparisons, truth and NULL: what can stand in a condition."""

from __future__ import annotations

from sqlglot import exp
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_STRING,
    Call,
    Comparison,
    Conjunction,
    Disjunction,
    Expression,
    Membership,
    Negation,
    NullTest,
    Pattern,
    Value,
)

from gateway.planning import calls, literals
from gateway.planning.calls import call, conditional
from gateway.planning.compiler import Compiler
from gateway.planning.folding import apply
from gateway.planning.literals import Constant, unwrapped
from gateway.planning.scope import Term, has_parts_beyond, reference

OPERATORS: dict[type[exp.Expr], Comparison.Operator.ValueType] = {
    exp.EQ: literals.EQUAL,
    exp.NEQ: literals.NOT_EQUAL,
    exp.LT: literals.LESS,
    exp.LTE: literals.LESS_OR_EQUAL,
    exp.GT: literals.GREATER,
    exp.GTE: literals.GREATER_OR_EQUAL,
}
_BINARY = frozenset({"this", "expression"})


def column(compiler: Compiler, node: exp.Column) -> Term:
    """A column of the rows."""
    attribute = compiler.scope.attribute(node)
    return Term(reference(attribute), attribute.type, attribute.domain, attribute.label)


def junction(compiler: Compiler, node: exp.Expr) -> Term:
    """A chain of AND, or of OR."""
    operands = [compiler.condition(operand) for operand in flattened(node)]
    if type(node) is exp.And:
        return calls.truth(Expression(conjunction=Conjunction(operands=operands)))
    return calls.truth(Expression(disjunction=Disjunction(operands=operands)))


def negation(compiler: Compiler, node: exp.Not) -> Term:
    """NOT x."""
    return calls.truth(negated(compiler.condition(node.this)))


def comparison(compiler: Compiler, node: exp.Expr) -> Term:
    """x = y and the like; exact between an int64 and any constant."""
    compiler.require_parts(node, _BINARY)
    left, right = compiler.meaning(node.this), compiler.meaning(node.args["expression"])
    return compiler.compared(left, OPERATORS[type(node)], right, node)


def membership(compiler: Compiler, node: exp.In) -> Term:
    """x IN (…), of constants or of any expressions."""
    if has_parts_beyond(node, frozenset({"this", "expressions"})) or not node.expressions:
        raise compiler.source.unsupported("IN takes a list of constants.", at=node, hint="Write column IN (1, 2, 3).")
    subject, items = compiler.term(node.this), [compiler.meaning(item) for item in node.expressions]
    constants = [item for item in items if isinstance(item, Constant)]
    if len(constants) < len(items):
        equal = [compiler.compared(subject, literals.EQUAL, item, node).expression for item in items]
        return calls.truth(Expression(disjunction=Disjunction(operands=equal)))
    listed = literals.members(compiler.source, subject, constants)
    if not listed:
        return calls.truth(literals.never(subject))
    return calls.truth(Expression(membership=Membership(operand=subject.expression, values=listed)))


def between(compiler: Compiler, node: exp.Between) -> Term:
    """x BETWEEN low AND high."""
    compiler.require_parts(node, frozenset({"this", "low", "high"}))
    subject = compiler.meaning(node.this)
    at_least = compiler.compared(subject, literals.GREATER_OR_EQUAL, compiler.meaning(node.args["low"]), node)
    at_most = compiler.compared(subject, literals.LESS_OR_EQUAL, compiler.meaning(node.args["high"]), node)
    return calls.truth(Expression(conjunction=Conjunction(operands=[at_least.expression, at_most.expression])))


def is_(compiler: Compiler, node: exp.Is) -> Term:
    """IS NULL, IS TRUE and IS FALSE; sqlglot reads IS NOT as NOT around them."""
    compiler.require_parts(node, _BINARY)
    wanted, subject = node.args["expression"], unwrapped(node.this)
    if isinstance(wanted, exp.Null):
        return calls.truth(Expression(null_test=NullTest(operand=_tested(compiler, subject))))
    if isinstance(wanted, exp.Boolean):
        condition = compiler.condition(subject)
        return calls.truth(certain(condition if wanted.this else negated(condition)))
    raise compiler.source.unsupported(
        "IS can only be asked with NULL, TRUE or FALSE.", at=node, hint="Write IS NULL, or = for a comparison."
    )


def _tested(compiler: Compiler, subject: exp.Expr) -> Expression:
    presence = compiler.scope.presence(subject) if isinstance(subject, exp.Column) else None
    return reference(presence) if presence is not None else compiler.term(subject).expression


def distinct(compiler: Compiler, node: exp.Expr) -> Term:
    """IS [NOT] DISTINCT FROM: NULL is equal to NULL."""
    left, right = compiler.unified([node.this, node.args["expression"]], node)
    same = compiler.compared(left, literals.EQUAL, right, node).expression
    nulls = [Expression(null_test=NullTest(operand=side.expression)) for side in (left, right)]
    both = Expression(conjunction=Conjunction(operands=nulls))
    equal = certain(Expression(disjunction=Disjunction(operands=[same, both])))
    return calls.truth(negated(equal) if isinstance(node, exp.NullSafeNEQ) else equal)


def like(compiler: Compiler, node: exp.Expr) -> Term:
    """LIKE and ILIKE with a constant pattern; ILIKE is blind to the case of ASCII letters only."""
    compiler.require_parts(node, frozenset({"this", "expression", "negate"}))
    text = compiler.of_type(node.this, COLUMN_TYPE_STRING, "no string", "LIKE takes a string.")
    pattern = compiler.text(node.args["expression"], "LIKE")
    if isinstance(node, exp.ILike):
        text, pattern = call(Call.FUNCTION_LOWER, text), lowered(pattern)
    matched = Expression(pattern=Pattern(operand=text.expression, pattern=pattern))
    return calls.truth(negated(matched) if node.args.get("negate") else matched)


def negated(condition: Expression) -> Expression:
    """NOT condition."""
    return Expression(negation=Negation(operand=condition))


def certain(condition: Expression) -> Expression:
    """Whether a condition is true: FALSE where it is NULL."""
    true, false = (calls.literal(Value(bool_value=value)) for value in (True, False))
    return conditional([(condition, true)], false).expression


def flattened(node: exp.Expr) -> list[exp.Expr]:
    """The operands of a chain of one operator, however long: it is read as a tree as deep."""
    operands: list[exp.Expr] = []
    waiting = [node]
    while waiting:
        present = unwrapped(waiting.pop())
        if type(present) is type(node):
            waiting += [present.args["expression"], present.this]
        else:
            operands.append(present)
    return operands


def lowered(text: str) -> str:
    """A constant as LOWER has it: ASCII letters only."""
    return str(apply(Call.FUNCTION_LOWER, (text,)))


def compared(left: Term, operator: Comparison.Operator.ValueType, right: Term) -> Expression:
    """A comparison of terms of one type, as a condition."""
    return calls.compare(left, operator, right).expression


def conjuncts(node: exp.Expr) -> list[exp.Expr]:
    """The conditions that a chain of AND joins; a condition that is no chain by itself."""
    inner = unwrapped(node)
    return flattened(inner) if type(inner) is exp.And else [inner]
