"""Code that a recipe brings along: checked before it runs, and run only where the recipe says that it is trusted."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


def require_trust(trusted: bool, setting: str) -> None:
    """Stops a recipe that would run code nobody has vouched for.

    Raises:
        UsageError: ``trust_code`` is not set.
    """
    if not trusted:
        raise UsageError(
            f"{setting} is Python code, which can do whatever you can",
            code="data.untrusted-code",
            hint="read it, and set trust_code: true if you trust who wrote it",
        )


def compile_lambda(source: str) -> Callable[[Any], Any]:
    """A lambda expression of one argument.

    It is parsed first, so nothing but a lambda is ever evaluated, and what a lambda does happens when it is called.

    Raises:
        UsageError: It is not one.

    Example:
        >>> compile_lambda("lambda line: line.split('. ')")("a. b")
        ['a', 'b']
    """
    try:
        tree = ast.parse(source.strip(), mode="eval")
    except SyntaxError as error:
        raise _wrong(f"the code {source!r} is not an expression: {error.msg}") from error
    if not isinstance(tree.body, ast.Lambda):
        raise _wrong(f"the code {source!r} is not a lambda")
    taken = tree.body.args
    others = [*taken.posonlyargs, *taken.kwonlyargs, *taken.defaults, *taken.kw_defaults, taken.vararg, taken.kwarg]
    if len(taken.args) != 1 or any(others):
        # Values of defaults would be evaluated here and now.
        raise _wrong(f"the lambda {source!r} does not take exactly one argument without a default")
    return eval(compile(tree, "<recipe>", "eval"), {})


def load_function(path: str, name: str) -> Callable[[Any], Any]:
    """A function of one argument that a Python file defines. Loading it runs the file.

    Raises:
        UsageError: There is no such file, or no such function in it.
    """
    file = Path(path)
    if not file.is_file() or file.suffix != ".py":
        raise UsageError(f"there is no Python file {path!r}", code="data.no-code", hint="check file_path")
    space: dict[str, Any] = {"__name__": file.stem, "__file__": str(file)}
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), space)
    function = space.get(name)
    if not callable(function):
        raise UsageError(f"{path} defines no function {name!r}", code="data.no-code", hint="check function_name")
    if len(inspect.getfullargspec(function).args) != 1:
        raise _wrong(f"{path}: {name} does not take exactly one argument")
    return function


def _wrong(message: str) -> UsageError:
    return UsageError(message, code="data.wrong-code", hint="write lambda row: {**row, 'text': row['text'].strip()}")
