from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.errors import UsageError
from plait.plan.arithmetic import MAX_BITS, MAX_CHARACTERS, evaluate, shown

Written = tuple[str, Fraction | None]  # an expression and its value; None where it divides by zero

NUMBERS: st.SearchStrategy[Written] = st.one_of(
    st.integers(0, 10**6).map(str), st.decimals("0", "9999", places=3, allow_nan=False).map(lambda d: f"{d:f}")
).map(lambda text: (text, Fraction(text)))

OPERATORS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: Fraction(a // b),
    "%": lambda a, b: a % b,
}


def both(one: Written, symbol: str, other: Written) -> Written:
    text = f"({one[0]} {symbol} {other[0]})"
    if one[1] is None or other[1] is None or (symbol in ("/", "//", "%") and other[1] == 0):
        return text, None
    return text, OPERATORS[symbol](one[1], other[1])


def power(base: Written, exponent: int) -> Written:
    text = f"(({base[0]}) ** {exponent})"
    if base[1] is None or (base[1] == 0 and exponent < 0):
        return text, None
    return text, Fraction(base[1] ** exponent)


def grow(inner: st.SearchStrategy[Written]) -> st.SearchStrategy[Written]:
    return st.one_of(
        st.builds(both, inner, st.sampled_from(list(OPERATORS)), inner),
        inner.map(lambda e: (f"(-{e[0]})", None if e[1] is None else -e[1])),
        st.builds(power, inner, st.integers(-3, 3)),
    )


@given(st.recursive(NUMBERS, grow, max_leaves=6))
def test_values_are_those_of_exact_fractions(written: Written) -> None:
    text, value = written
    if len(text) > MAX_CHARACTERS:
        with pytest.raises(UsageError, match="characters"):
            evaluate(text)
    elif value is None:
        with pytest.raises(UsageError, match="divides by zero"):
            evaluate(text)
    else:
        assert evaluate(text) == value


@pytest.mark.parametrize(
    "attack",
    [
        "__import__('os').system('true')",
        "(1).__class__",
        "x + 1",
        "[1, 2][0]",
        "lambda: 1",
        "1 if 1 else 2",
        "1 < 2",
        "True + 1",
        "'a' * 3",
        "1j * 2",
        "1e400",
        "0x10",
        "1_000",
        "1 << 99",
        "~1",
        "2 ** 0.5",
        "1; 2",
        "(y := 3)",
        "f'{1}'",
        "",
        "   ",
        "\x00",
        "1 +",
        "@",
        "9" * 201,
        "(" * 90 + "1" + ")" * 100,
        "sum(1, 2)",
        "1 @ 2",
    ],
)
def test_what_is_not_arithmetic_is_refused(attack: str) -> None:
    with pytest.raises(UsageError) as caught:
        evaluate(attack)
    assert caught.value.code == "plan.expression"


@pytest.mark.parametrize(
    "huge",
    [
        "9 ** 9 ** 9 ** 9",
        "(9 ** 999) ** 999",
        "2 ** 99999999999",
        "(1 / 9) ** 99999",
        "9 ** -99999",
        "10 ** 1234 * 10 ** 1234",
    ],
)
def test_huge_values_are_refused_before_they_are_computed(huge: str) -> None:
    start = time.process_time()
    with pytest.raises(UsageError, match="too large"):
        evaluate(huge)
    assert time.process_time() - start < 1


def test_powers_of_one_and_nothing_have_no_limit() -> None:
    assert evaluate("1 ** 99999999999") == 1
    assert evaluate("(0 - 1) ** 99999999999") == -1
    assert evaluate("0 ** 99999999999") == 0
    assert evaluate("0 ** 0") == 1
    assert evaluate(f"2 ** {MAX_BITS // 2}") == 2 ** (MAX_BITS // 2)


def test_precedence_by_hand() -> None:
    assert evaluate("2 + 3 * 4") == 14
    assert evaluate("-2 ** 2") == -4
    assert evaluate("7 // 2 + 7 % 2") == 4
    assert evaluate("1 / 3 + 1 / 6") == Fraction(1, 2)


@given(st.fractions(max_denominator=10**6))
def test_shown_values_are_near_and_clean(value: Fraction) -> None:
    text = shown(value)
    assert abs(Fraction(text) - value) <= Fraction(1, 2 * 10**12)
    assert text == "0" or not (text.endswith(".") or text.startswith("."))
    assert "e" not in text.lower()
