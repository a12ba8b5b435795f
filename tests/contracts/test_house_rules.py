"""The house's own rules: sizes, docs, examples, tests, names."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from plait.core.catalog import TABLES, find, load, table
from plait.core.component import Component
from plait.core.recipe import load_recipe, recipe_summary, shipped_recipes
from plait.core.recipe_stage import RESERVED
from plait.core.schema import json_schema
from plait.core.stage import Stage
from plait.data.plan import read_ops

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
ENTRIES = [(kind, name) for kind in TABLES for name in table(kind)]
LONG_FILES: set[str] = set()
"""Files over 500 lines that are still one idea; this list may only shrink."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_files_stay_readable(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 500 or path.name in LONG_FILES


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_entry_has_a_line_a_doc_and_an_example(kind, name):
    entry = table(kind)[name]
    assert entry.summary.endswith(".")
    assert entry.summary[0].isupper()
    target = load(entry.path)
    doc = inspect.getdoc(target)
    assert doc
    if not inspect.isclass(target):
        return
    assert "Example:" in doc, f"{entry.path} shows no example"
    example = textwrap.dedent(re.search(r"Example:\n((?:    .*\n?)+)", doc)[1])
    if ">>>" in example:  # a doctest, which pytest runs
        return
    [item] = YAML(typ="safe", pure=True).load(example)
    if kind == "stage":
        assert item.pop("use") == name
        item.pop("name")
        assert target.model_validate(item)
    else:
        assert read_ops([item])[0][0] == name


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_entry_has_a_test(kind, name):
    attribute = table(kind)[name].path.partition(":")[2]
    tests = [p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py") if p != Path(__file__)]
    assert any(re.search(rf"\b{re.escape(attribute)}\b", text) or f'"{name}"' in text for text in tests)


def components() -> list[type[Component]]:
    """Every component in the source tree; importing their modules needs no heavy package."""
    found: set[type[Component]] = set()
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        bases = {"Component", "Stage", "ChatComponent"}
        names = [n.name for n in tree.body if isinstance(n, ast.ClassDef) and {ast.unparse(b) for b in n.bases} & bases]
        module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        found |= {load(f"{module}:{name}") for name in names}
    return sorted(found, key=lambda c: (c.__module__, c.__name__))


@pytest.mark.parametrize("component", components(), ids=lambda c: c.__name__)
def test_components_explain_every_setting_and_build_nothing(component):
    assert inspect.getdoc(component)
    for name, field in component.model_fields.items():
        assert field.description, f"{component.__name__}.{name} has no docstring"
    assert component.model_config["frozen"]
    assert component.model_config["extra"] == "forbid"
    if issubclass(component, Stage):
        assert not set(component.model_fields) & set(RESERVED)
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", output) for output in component.outputs)


@pytest.mark.parametrize("path", shipped_recipes(), ids=lambda p: p.stem)
def test_shipped_recipes_check_and_say_how_to_run_them(path):
    assert recipe_summary(path)
    assert f"plait run {path.stem}" in path.read_text(encoding="utf-8")
    assert load_recipe(path.stem).stages


def test_json_schema_is_valid_and_accepts_the_shipped_recipes():
    from jsonschema import Draft202012Validator

    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(json.loads(json.dumps(schema)))
    for path in shipped_recipes():
        recipe = YAML(typ="safe", pure=True).load(path)
        assert not list(validator.iter_errors(recipe))
        recipe["stages"][0]["no_such_setting"] = 1
        assert list(validator.iter_errors(recipe))


def test_public_names_are_what_they_were():
    """The public surface changes on purpose: edit the snapshot in the same commit."""
    code = (
        "import importlib, json, pkgutil, plait\n"
        "names = ['plait', *(f'plait.{m.name}' for m in pkgutil.iter_modules(plait.__path__) if m.ispkg)]\n"
        "print(json.dumps({n: list(getattr(importlib.import_module(n), '__all__', [])) for n in names}))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    public = json.loads(shown)
    snapshot = json.loads((Path(__file__).parent / "public_names.json").read_text())
    assert public == snapshot
    for names in public.values():  # constants, then classes, then functions, as ruff sorts them
        assert names == sorted(names, key=lambda n: (0 if n.isupper() else 1 if n[0].isupper() else 2, n))
    for package, names in public.items():
        module = __import__(package, fromlist=["_"])
        for name in names:
            assert getattr(module, name) is not None


def test_schema_models_are_pydantic():
    for kind, name in ENTRIES:
        if kind == "stage":
            assert issubclass(find(kind, name), BaseModel)
