"""Mappers that run Python of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from pydantic import model_validator

from plait.data.batch import session
from plait.data.names import ROW
from plait.data.op import Cost, Mapper, Need
from plait.data.ops.rewrite.rows import fields_of, from_fields
from plait.data.ops.rewrite.trusted import compile_lambda, load_function, require_trust
from plait.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from plait.data.batch import Batch


class PythonLambdaMapper(Mapper):
    """Rewrites rows by a lambda expression of your own.

    Example:
        - python_lambda_mapper: {lambda_str: "lambda row: {**row, 'text': row['text'].upper()}", trust_code: true}

        >>> op = PythonLambdaMapper(lambda_str="lambda r: {**r, 'text': r['text'][:1]}", trust_code=True)
        >>> op.rewrite_texts(["ab"])
        ['a']

    Source: Data-Juicer 1.6.1, ``python_lambda_mapper``. Differs: it needs ``trust_code``, because a recipe from
    somebody else would run as you.
    """

    cost: ClassVar[Cost] = "python"
    needs: ClassVar[frozenset[Need]] = frozenset({"fields"})

    lambda_str: str = ""
    """A lambda of one argument: the row as a dict, or with `batched` a dict of columns; it gives such a dict."""
    batched: bool = False
    """Give it all rows of a chunk at once. The result must then not depend on which rows these are."""
    trust_code: bool = False
    """Run it, though it can do whatever you can: say true only if you know who wrote the recipe."""

    @model_validator(mode="after")
    def _trusted(self) -> Self:
        if self.lambda_str:
            require_trust(self.trust_code, "lambda_str")
            compile_lambda(self.lambda_str)
        return self

    def apply(self, batch: Batch) -> Batch:
        """Calls it for each row, or once."""
        if not self.lambda_str:
            return batch
        return _applied(batch, session(self, lambda: compile_lambda(self.lambda_str)), batched=self.batched)


class PythonFileMapper(Mapper):
    """Rewrites rows by a function in a Python file of your own.

    Example:
        - python_file_mapper: {file_path: clean.py, function_name: process_single, trust_code: true}

    Source: Data-Juicer 1.6.1, ``python_file_mapper``. Differs: it needs ``trust_code``, because a recipe from
    somebody else would run as you.
    """

    cost: ClassVar[Cost] = "python"
    needs: ClassVar[frozenset[Need]] = frozenset({"fields"})

    file_path: str = ""
    """A ``.py`` file."""
    function_name: str = "process_single"
    """A function of one argument in it: the row as a dict, or with `batched` a dict of columns; it gives such a
    dict."""
    batched: bool = False
    """Give it all rows of a chunk at once. The result must then not depend on which rows these are."""
    trust_code: bool = False
    """Run it, though it can do whatever you can: say true only if you know who wrote the file."""

    @model_validator(mode="after")
    def _trusted(self) -> Self:
        if self.file_path:
            require_trust(self.trust_code, "file_path")
        return self

    def apply(self, batch: Batch) -> Batch:
        """Calls it for each row, or once."""
        if not self.file_path:
            return batch
        function = session(self, lambda: load_function(self.file_path, self.function_name))
        return _applied(batch, function, batched=self.batched)


def _applied(batch: Batch, function: Callable[[Any], Any], *, batched: bool) -> Batch:
    if not batched:
        return from_fields([_checked(function(row)) for row in fields_of(batch)], batch)
    columns = batch.frame.drop(ROW).to_dict(as_series=False)
    given = {name: list(values) for name, values in _checked(function(columns)).items()}
    lengths = {len(values) for values in given.values()}
    if lengths != {len(batch)}:
        # Where a row came from is what explains it later, so code that takes all at once may not change how many.
        raise DataError(
            f"the function gave columns of {sorted(lengths)} rows for {len(batch)}",
            code="data.wrong-type",
            hint="give as many rows as it was given, or drop rows by a filter",
        )
    return from_fields([dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)], batch)


def _checked(result: object) -> Mapping[str, Any]:
    if not isinstance(result, dict):
        raise DataError(
            f"the function gave {type(result).__name__}, not a dict",
            code="data.wrong-type",
            hint="give {**row, …}",
        )
    return cast("Mapping[str, Any]", result)
