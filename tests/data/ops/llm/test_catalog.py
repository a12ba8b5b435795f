"""Every operation is what the catalog says, each setting is explained, and the example is a setting it takes."""

from __future__ import annotations

import re

import pytest

from plait.core.catalog import Entry, load
from plait.core.yaml import parse_yaml
from plait.data.op import Op
from plait.data.ops.llm import catalog as llm
from plait.data.ops.select import catalog as select
from plait.data.plan import read_ops

OPS = llm.OPS | select.OPS


@pytest.mark.parametrize(("name", "entry"), OPS.items(), ids=list(OPS))
def test_an_operation_and_its_example(name: str, entry: Entry) -> None:
    kind = load(entry.path)
    assert isinstance(kind, type)
    assert issubclass(kind, Op)
    unexplained = [field for field, info in kind.model_fields.items() if not info.description]
    assert unexplained == []
    example = re.search(r"Example:\n\s+- (.*)\n", kind.__doc__ or "")
    assert example is not None
    [(read, op)] = read_ops(parse_yaml(f"- {example.group(1)}", source="docstring").data)
    assert read == name
    assert isinstance(op, kind)
