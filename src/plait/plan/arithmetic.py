"""Arithmetic that may be trusted: an expression of numbers and operators, evaluated exactly, within limits.

Nothing is executed. The expression is parsed, every node is checked against a short list, and values are fractions.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from fractions import Fraction

from plait.errors import UsageError

MAX_CHARACTERS = 200
MAX_BITS = 4096
"""Of a numerator or denominator on the way: a number of some 1,200 digits."""

_DECIMAL = re.compile(r"\d+(\.\d*)?|\.\d+")
_BINARY: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Mod: operator.mod,
}


def evaluate(expression: str) -> Fraction:
    """The exact value of an expression of decimal numbers, ``+ - * / // % **`` and parentheses.

    Args:
        expression: E.g. ``(70 + 2) * 12``; at most `MAX_CHARACTERS` long.

    Raises:
        UsageError: It holds anything else, divides by zero, or grows beyond `MAX_BITS`.

    Example:
        >>> evaluate("0.1 + 0.2"), evaluate("(70 + 2) * 12")
        (Fraction(3, 10), Fraction(864, 1))
    """
    if len(expression) > MAX_CHARACTERS:
        raise _refused(expression, f"it has {len(expression)} characters, more than {MAX_CHARACTERS}")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        return _value(tree.body, expression.strip())
    except (SyntaxError, ValueError) as error:
        raise _refused(expression, "it is not arithmetic") from error
    except (RecursionError, MemoryError) as error:
        raise _refused(expression, "it is nested too deeply") from error


def shown(value: Fraction) -> str:
    """A value as people write it: whole, or with as many decimals as it has, at most 12.

    Example:
        >>> shown(Fraction(864)), shown(Fraction(3, 10)), shown(Fraction(1, 3)), shown(Fraction(-5, 4))
        ('864', '0.3', '0.333333333333', '-1.25')
    """
    if value.denominator == 1:
        return str(value.numerator)
    scaled = round(abs(value) * 10**12)
    text = f"{scaled // 10**12}.{scaled % 10**12:012d}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 and scaled else text


def _value(node: ast.expr, source: str) -> Fraction:
    match node:
        case ast.Constant():
            written = ast.get_source_segment(source, node) or ""
            if not _DECIMAL.fullmatch(written):
                raise _refused(source, f"{written!r} is not a decimal number")
            return _within(Fraction(written), source)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, source)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, source)
        case ast.BinOp(op=ast.Pow(), left=left, right=right):
            return _power(_value(left, source), _value(right, source), source)
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _BINARY:
            first, second = _value(left, source), _value(right, source)
            try:
                return _within(_BINARY[type(op)](first, second), source)
            except ZeroDivisionError as error:
                raise _refused(source, "it divides by zero") from error
        case _:
            raise _refused(source, f"{type(node).__name__} is not allowed in it")


def _power(base: Fraction, exponent: Fraction, source: str) -> Fraction:
    """An integer power, refused before it is computed if it would be too large."""
    if exponent.denominator != 1:
        raise _refused(source, f"the exponent {exponent} is not whole")
    if base == 0 and exponent < 0:
        raise _refused(source, "it divides by zero")
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(base) != 1 and base != 0 and bits * abs(exponent) > MAX_BITS:
        raise _refused(source, "its value is too large")
    return Fraction(base ** int(exponent % 2 if abs(base) == 1 else exponent))


def _within(value: Fraction, source: str) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise _refused(source, "its value is too large")
    return value


def _refused(expression: str, why: str) -> UsageError:
    short = expression if len(expression) <= 60 else expression[:60] + "…"
    return UsageError(
        f"the expression {short!r} is refused: {why}",
        code="plan.expression",
        hint="use decimal numbers, + - * / // % ** and parentheses",
    )
