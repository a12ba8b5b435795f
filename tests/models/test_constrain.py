from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.errors import ModelError
from plait.models import LanguageModel, generate
from plait.models.json_schema import unenforceable

Make = Callable[..., LanguageModel]

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
        "mood": {"anyOf": [{"const": "good"}, {"type": "null"}]},
    },
    "required": ["name", "age", "tags", "mood"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, dict[str, Any]] = {
    "person": PERSON,
    "nested": {
        "type": "object",
        "properties": {"people": {"type": "array", "items": {"$ref": "#/$defs/person"}, "minItems": 1, "maxItems": 2}},
        "required": ["people"],
        "$defs": {"person": PERSON},
    },
    "enum": {"enum": ["yes", "no", 3, None]},
    "typed enum": {"type": "string", "enum": ["left", "right"]},
    "boolean": {"type": "boolean"},
    "pattern": {"type": "string", "pattern": "^[a-c]{2,4}$"},
    "choice": {
        "oneOf": [
            {
                "type": "object",
                "properties": {"kind": {"const": "say"}, "n": {"type": "boolean"}},
                "required": ["kind"],
            },
            {"type": "object", "properties": {"kind": {"const": "go"}}, "required": ["kind"]},
        ]
    },
    "optional": {"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"type": "null"}}},
    "range": {"type": "integer", "exclusiveMinimum": -5, "maximum": 5},
    "tuple": {"type": "array", "prefixItems": [{"type": "boolean"}, {"enum": [1, 2]}], "items": False, "minItems": 2},
}


@pytest.mark.parametrize("temperature", [0.0, 1.5])
@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("family", ["llama", "mistral-window"])
def test_complete_output_always_parses_and_validates(make_lm: Make, family: str, name: str, temperature: float) -> None:
    lm = make_lm(family)
    schema = SCHEMAS[name]
    prompts = [lm.encode(t) for t in ("the ab", "a", "1, 2")]
    out = generate(lm, prompts, max_new_tokens=220, seeds=[1, 2, 3], temperature=temperature, schema=schema)
    assert any(c.finish == "stop" for c in out)
    for c in out:
        if c.finish == "stop":
            jsonschema.validate(json.loads(c.text), schema, cls=jsonschema.Draft202012Validator)


def test_running_out_of_tokens_is_length(make_lm: Make) -> None:
    lm = make_lm()
    out = generate(lm, [lm.encode("the ab")] * 4, max_new_tokens=9, seeds=range(4), temperature=1.0, schema=PERSON)
    assert [c.finish for c in out] == ["length"] * 4
    for c in out:
        with pytest.raises(json.JSONDecodeError):
            json.loads(c.text)


def test_complete_at_the_last_token_is_stop(make_lm: Make) -> None:
    lm = make_lm()
    schema = {"const": "ab"}
    [whole] = generate(lm, [[5]], max_new_tokens=50, seeds=[0], schema=schema)
    assert whole.token_ids[-1] == 2
    needed = len(whole.token_ids) - 1
    [exact] = generate(lm, [[5]], max_new_tokens=needed, seeds=[0], schema=schema)
    assert (exact.text, exact.finish) == ('"ab"', "stop")
    [short] = generate(lm, [[5]], max_new_tokens=needed - 1, seeds=[0], schema=schema)
    assert short.finish == "length"


def test_special_tokens_cannot_hide_inside_strings(make_lm: Make) -> None:
    lm = make_lm()
    schema = {"type": "string", "minLength": 30, "maxLength": 40}
    out = generate(lm, [[5]] * 12, max_new_tokens=200, seeds=range(12), temperature=4.0, schema=schema)
    for c in out:
        assert not {0, 1, 3} & set(c.token_ids)
        jsonschema.validate(json.loads(c.text), schema)


def test_rows_in_a_batch_are_constrained_apart(make_lm: Make) -> None:
    lm = make_lm()
    prompts = [lm.encode(t) for t in ("the ab", "a", "1, 2 and so on", "the the")]
    settings: dict[str, Any] = {"max_new_tokens": 120, "temperature": 1.4, "schema": PERSON}
    together = generate(lm, prompts, seeds=range(4), **settings)
    alone = [generate(lm, [p], seeds=[i], **settings)[0] for i, p in enumerate(prompts)]
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]


def test_logprobs_stay_those_of_the_free_model(make_lm: Make) -> None:
    from plait.models import sequence_logprobs

    lm = make_lm()
    [out] = generate(lm, [lm.encode("a")], max_new_tokens=150, seeds=[0], schema=PERSON)
    [expected] = sequence_logprobs(lm, [lm.encode("a")], [out.token_ids])
    assert out.logprobs == pytest.approx(expected, abs=1e-4)


def test_schema_is_compiled_once_per_model(make_lm: Make) -> None:
    lm = make_lm()
    assert lm.grammars is lm.grammars
    first = lm.grammars.compile(PERSON)
    size = lm.grammars.compiler.get_cache_size_bytes()
    lm.grammars.compile(json.loads(json.dumps(PERSON)))
    assert lm.grammars.compiler.get_cache_size_bytes() == size
    assert first.memory_size_bytes > 0


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems at #"),
        ({"not": {"type": "integer"}}, "not at #"),
        ({"type": "string", "pattern": "a", "minLength": 2}, "pattern together with a length"),
        ({"allOf": [{"type": "integer"}, {"minimum": 5}]}, "allOf of several schemas"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "branches may overlap"),
        ({"properties": {"a": {"contains": {}}}}, "contains at #/properties/a"),
        ({"type": "object", "required": ["b"], "properties": {"a": {}}}, "required b"),
        ({"type": "integer", "minimum": 3, "enum": [1, 5]}, "minimum beside enum"),
        ({"type": "integer", "enum": ["a"]}, "type beside enum"),
        ({"anyOf": [{"type": "integer"}], "minimum": 5}, "minimum beside anyOf"),
        ({"type": "string", "pattern": '^"$'}, "quotes, backslashes"),
        ({"type": "string", "pattern": r"^\\$"}, "quotes, backslashes"),
        ({"type": "string", "pattern": r"^\u0022$"}, "quotes, backslashes"),
        ({"type": "string", "pattern": "(?!a)."}, "look-around"),
        ({"patternProperties": {'"': {}}}, "quotes, backslashes"),
        ({"minimum": 5}, "minimum without a type"),
        ({"items": {"minItems": 2}}, "minItems without a type at #/items"),
        ({"properties": {"aa": {}}, "patternProperties": {"^a": {}}}, "patternProperties with other"),
        ({"patternProperties": {"^a": {}, "b$": {}}}, "patternProperties with other"),
        ({"patternProperties": {"^a": {}}, "additionalProperties": {"type": "null"}}, "patternProperties with other"),
        ({"properties": {"a": {}}, "propertyNames": {"type": "string", "maxLength": 0}}, "propertyNames with named"),
        ({"type": "number", "multipleOf": 0.1}, "multipleOf"),
        ({"type": "integer", "multipleOf": 3, "minimum": 4}, "multipleOf"),
        ({"items": {"if": {}, "then": {}}}, "if at #/items"),
    ],
)
def test_what_cannot_be_enforced_is_refused(make_lm: Make, schema: dict[str, Any], problem: str) -> None:
    with pytest.raises(ModelError, match=problem) as caught:
        generate(make_lm(), [[5]], max_new_tokens=5, seeds=[0], schema=schema)
    assert caught.value.code == "model.schema-unsupported"


@pytest.mark.parametrize("schema", [{"type": "strin"}, {"$ref": "#/$defs/absent"}])
def test_schema_that_is_wrong(make_lm: Make, schema: dict[str, Any]) -> None:
    with pytest.raises(ModelError) as caught:
        generate(make_lm(), [[5]], max_new_tokens=5, seeds=[0], schema=schema)
    assert caught.value.code == "model.schema-invalid"


def test_text_that_no_token_continues(make_lm: Make) -> None:
    with pytest.raises(ModelError) as caught:
        generate(make_lm(), [[5]], max_new_tokens=5, seeds=[0], schema={"type": "string", "pattern": "^\\n$"})
    assert caught.value.code == "model.schema-dead-end"


def test_only_well_formed_utf8(make_lm: Make) -> None:
    lm = make_lm()
    schema = {"type": "string", "minLength": 40, "maxLength": 40}
    out = generate(lm, [[5]] * 40, max_new_tokens=300, seeds=range(40), temperature=50.0, schema=schema)
    assert any(ord(ch) > 0xFFFF for c in out for ch in c.text)
    for c in out:
        assert c.finish == "stop"
        assert len(json.loads(c.text)) == 40
        assert "\ufffd" not in c.text


def test_schema_of_a_pydantic_model(make_lm: Make) -> None:
    from typing import Literal

    from pydantic import BaseModel, Field

    class Inner(BaseModel):
        """Docs become a description."""

        kind: Literal["inner"] = "inner"
        score: float = Field(ge=0, le=1, description="how sure")

    class Outer(BaseModel):
        name: str = Field(max_length=5)
        inner: Inner = Field(description="beside a $ref")
        maybe: int | None = None
        many: list[Inner] = Field(max_length=1)

    schema = Outer.model_json_schema()
    out = generate(make_lm(), [[5]] * 8, max_new_tokens=300, seeds=range(8), temperature=1.0, schema=schema)
    done = [c for c in out if c.finish == "stop"]
    assert done
    for c in done:
        Outer.model_validate_json(c.text)


@pytest.mark.parametrize("name", SCHEMAS)
def test_common_schemas_are_enforceable(name: str) -> None:
    assert unenforceable(SCHEMAS[name]) == []


_LEAVES = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.integers(-3, 3).map(lambda n: {"const": n}),
    st.lists(st.sampled_from(["a", "b", 1, None]), min_size=1, max_size=3, unique=True).map(lambda v: {"enum": v}),
    st.integers(0, 3).map(lambda n: {"type": "string", "maxLength": n}),
    st.integers(-9, 9).map(lambda n: {"type": "integer", "minimum": n, "maximum": n + 20}),
)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda s: {"type": "array", "items": s, "maxItems": 2}),
        st.lists(inner, min_size=1, max_size=2).map(lambda s: {"anyOf": s}),
        st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=2).map(
            lambda p: {"type": "object", "properties": p, "required": sorted(p)}
        ),
    ),
    max_leaves=4,
)


@given(schema=_TREES, seed=st.integers(0, 100))
def test_any_enforceable_schema_holds(make_lm: Make, schema: dict[str, Any], seed: int) -> None:
    assert unenforceable(schema) == []
    [out] = generate(make_lm(), [[5, 6]], max_new_tokens=60, seeds=[seed], temperature=1.0, schema=schema)
    if out.finish == "stop":
        jsonschema.validate(json.loads(out.text), schema, cls=jsonschema.Draft202012Validator)
    else:
        assert len(out.token_ids) == 60


@pytest.mark.model
def test_default_model_writes_valid_json() -> None:
    from plait.models import load

    lm = load("smollm2-135m")
    prompt = lm.encode(lm.render([{"role": "user", "content": "Describe a person as JSON."}]))
    out = generate(lm, [prompt] * 6, max_new_tokens=80, seeds=range(6), temperature=1.0, schema=PERSON)
    for c in out:
        assert c.finish == "stop"
        jsonschema.validate(json.loads(c.text), PERSON)
