from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

import plait.llm
from plait.core.component import Component
from plait.errors import UsageError
from plait.llm.endpoint import Endpoint
from plait.llm.limits import Limits
from plait.llm.local import LocalModel
from plait.llm.opening import ChatSetting, chat_component, open_chat
from plait.llm.replay import Replay
from plait.llm.scripted import Scripted


class Uses(Component):
    model: ChatSetting = LocalModel()


def test_names_paths_mappings_and_components_mean_the_same():
    expected = Scripted(answers=("a",))
    for spec in (
        {"use": "scripted", "answers": ["a"]},
        {"use": "plait.llm.scripted:Scripted", "answers": ["a"]},
        expected,
    ):
        assert chat_component(spec) == expected
    assert chat_component("local") == LocalModel()
    assert type(open_chat(expected)).__name__ == "ScriptedModel"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("lokal", 'did you mean "local"'),
        ({"use": "scripted", "answer": ["a"]}, "answer: Extra inputs"),
        ({"answers": ["a"]}, 'a mapping with "use"'),
        ("endpoint", "base_url: Field required"),
        ("pathlib:Path", "not a chat model"),
        (Limits(), "Limits is not a chat model"),
    ],
)
def test_wrong_specs_say_what_is_wrong(spec, says):
    with pytest.raises(UsageError) as caught:
        chat_component(spec)
    assert says in str(caught.value)


def test_a_setting_reads_names_and_mappings_nested_and_writes_them_back():
    assert Uses.model_validate({"model": "local"}).model == LocalModel()
    plain = {
        "model": {
            "use": "replay",
            "path": "calls.jsonl",
            "inner": {"use": "endpoint", "base_url": "http://h/v1", "model": "m", "limits": {"concurrent": 4}},
        }
    }
    uses = Uses.model_validate(plain)
    assert isinstance(uses.model, Replay)
    assert isinstance(uses.model.inner, Endpoint)
    assert uses.model.inner.limits == Limits(concurrent=4)
    assert uses.model_dump(mode="json", exclude_unset=True) == plain
    assert Uses.model_validate_json(uses.model_dump_json()) == uses
    schema = Uses.model_json_schema()["properties"]["model"]
    assert {"type": "string"} in schema["anyOf"]
    with pytest.raises(ValidationError, match="did you mean"):
        Uses.model_validate({"model": "reply"})


def test_shared_limits_stay_shared_inside_other_components():
    limits = Limits(concurrent=2)
    one, two = (Endpoint(base_url="http://h/v1", model=m, limits=limits) for m in "ab")
    assert Uses(model=one).model.limits.limiter is Replay(inner=two, path="x").inner.limits.limiter


def test_every_export_exists_and_is_sorted():
    assert plait.llm.__all__ == sorted(plait.llm.__all__)
    for name in plait.llm.__all__:
        assert getattr(plait.llm, name).__module__.startswith("plait.llm") or name in ("ChatSetting", "JSONSchema")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = plait.llm.nothing


def test_declaring_models_imports_nothing_heavy():
    code = """
import sys
from plait.llm import Endpoint, LocalModel, Replay, Scripted, chat_component
chat_component("local"); Endpoint(base_url="http://h/v1", model="m"); Replay(inner="local", path="x")
import plait.cli.llm
heavy = {"torch", "transformers", "openai", "tenacity", "uvicorn", "starlette", "jsonschema"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
