"""Recipes that are right: loaded, ordered, overridden, written out and read again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.core.recipe import load_recipe
from plait.core.recipe_check import check_recipe
from plait.core.recipe_links import find_cycle
from plait.core.references import stage_inputs
from plait.core.yaml import dump_yaml, parse_value, parse_yaml
from plait.errors import RecipeError, UsageError

TRAIN, SOURCE = "recipe_stages:Train", "recipe_stages:Source"

RECIPE = """\
# What it does.
name: study
seed: 7
vars: {steps: 36, topic: cells, nested: {rank: 4}}
stages:
  - name: late
    use: recipe_stages:Train
    steps: ${vars.steps}
    note: "${vars.steps} steps on ${vars.topic}"
    lora: ${vars.nested}
    data: ${source.documents}
  - {name: alone, use: "recipe_stages:Train", needs: [late]}
  - {name: source, use: "recipe_stages:Source", topic: no}
"""


def load(folder: Path, text: str = RECIPE, *overrides: str):
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, overrides=overrides)


def stage(recipe, name):
    return next(stage for stage in recipe.stages if stage.name == name)


def test_variables_references_and_order(tmp_path):
    recipe = load(tmp_path)
    assert (recipe.name, recipe.seed, recipe.engine) == ("study", 7, "local")
    late = stage(recipe, "late")
    assert late.component.steps == 36
    assert late.component.note == "36 steps on cells"
    assert late.component.lora.rank == 4
    assert late.needs == ("source",)
    assert stage(recipe, "alone").needs == ("late",)
    assert stage(recipe, "source").component.topic == "no"
    assert [s.name for s in recipe.ordered()] == ["source", "late", "alone"]
    assert late.lines[("steps",)] == 8
    assert recipe.vars["steps"] == 36


def test_the_order_is_that_of_the_file_where_nothing_is_needed(tmp_path):
    stages = "".join(f"  - {{name: s{i}, use: {SOURCE!r}, topic: t}}\n" for i in (3, 1, 2, 0))
    recipe = load(tmp_path, f"name: flat\nstages:\n{stages}")
    assert [s.name for s in recipe.ordered()] == ["s3", "s1", "s2", "s0"]


def test_needs_are_explicit_and_inferred_in_the_order_of_the_recipe(tmp_path):
    recipe = load(
        tmp_path,
        f"""
        stages:
          - {{name: a, use: "{SOURCE}", topic: t}}
          - {{name: b, use: "{SOURCE}", topic: t}}
          - {{name: c, use: "{TRAIN}", needs: [b], more: ["${{b.documents}}", "${{a.documents}}"]}}
        """,
    )
    assert stage(recipe, "c").needs == ("a", "b")
    assert recipe.name == "study"


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("late.steps=40", lambda r: stage(r, "late").component.steps, 40),
        ("stages.late.steps=40", lambda r: stage(r, "late").component.steps, 40),
        ("late.lora.rank=2", lambda r: stage(r, "late").component.lora.rank, 2),
        ("alone.lora.targets=[a, b]", lambda r: stage(r, "alone").component.lora.targets, ("a", "b")),
        ("alone.rate=1e-4", lambda r: stage(r, "alone").component.rate, 1e-4),
        ("alone.note=no", lambda r: stage(r, "alone").component.note, "no"),
        ("alone.note=a=b", lambda r: stage(r, "alone").component.note, "a=b"),
        ("alone.shuffle=false", lambda r: stage(r, "alone").component.shuffle, False),
        ("alone.data=${source.documents}", lambda r: stage(r, "alone").needs, ("late", "source")),
        ("alone.split=", lambda r: stage(r, "alone").component.split, None),
        ("vars.steps=5", lambda r: stage(r, "late").component.note, "5 steps on cells"),
        ("seed=3", lambda r: r.seed, 3),
        ("name=other", lambda r: r.name, "other"),
        ("engine=ray", lambda r: r.engine, "ray"),
    ],
)
def test_overrides(tmp_path, override, read, value):
    assert read(load(tmp_path, RECIPE, override)) == value


def test_an_override_reaches_into_a_list(tmp_path):
    text = f'stages: [{{name: t, use: "{TRAIN}", lora: {{targets: [a, b]}}}}]'
    assert stage(load(tmp_path, text, "t.lora.targets.1=c"), "t").component.lora.targets == ("a", "c")


def test_paths_are_relative_to_the_recipe_and_overrides_to_where_they_are_typed(tmp_path, monkeypatch):
    home, here = tmp_path / "home", tmp_path / "here"
    for folder in (home, here):
        folder.mkdir()
        (folder / "data.txt").write_text(folder.name)
    (home / "more.txt").write_text("")
    monkeypatch.chdir(here)
    text = f'stages: [{{name: t, use: "{TRAIN}", data: data.txt, more: [more.txt, data.txt]}}]'
    component = stage(load(home, text), "t").component
    assert component.data == home / "data.txt"
    # An override of one setting moves no other path of the stage.
    component = stage(load(home, text, "t.steps=3", "t.more.1=data.txt"), "t").component
    assert component.data == home / "data.txt"
    assert component.more == [home / "more.txt", here / "data.txt"]
    assert stage(load(home, text, "t.data=data.txt"), "t").component.data == here / "data.txt"
    by_variable = text.replace("data: data.txt", 'data: "${vars.file}"') + "\nvars: {file: data.txt}"
    assert stage(load(home, by_variable), "t").component.data == home / "data.txt"
    assert stage(load(home, by_variable, "vars.file=data.txt"), "t").component.data == here / "data.txt"


def test_the_resolved_recipe_runs_again_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("")
    text = RECIPE + f'  - {{name: files, use: "{TRAIN}", data: a.txt, pair: [a.txt, "${{source.documents}}"]}}\n'
    recipe = load(tmp_path, text, "late.rate=1e-3", "seed=11")
    resolved = tmp_path / "elsewhere" / "recipe.yaml"
    resolved.parent.mkdir()
    resolved.write_text(recipe.to_yaml(), encoding="utf-8")
    again = load_recipe(resolved)
    assert again == recipe
    assert again.to_yaml() == recipe.to_yaml()
    assert "vars" not in recipe.to_yaml()


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\r\x85\u2028\u2029"), max_size=20).filter(
    lambda text: "${" not in text and text not in ("usage", "forbidden")
)
NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True).filter(lambda n: n not in ("vars", "stages"))
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "steps": st.integers(1, 2**70),
        "rate": st.floats(min_value=1e-300, allow_infinity=False, allow_nan=False) | st.integers(1, 9),
        "shuffle": st.booleans(),
        "loss": st.sampled_from(["dpo", "ipo", "sft"]),
        "note": WORDS | st.sampled_from(["no", "5e-5", "0o7", "~", "2020-01-01", "a: b", "- x", "#", " x ", "<<", "="]),
        "lora": st.fixed_dictionaries(
            {}, optional={"rank": st.integers(1, 256), "targets": st.lists(WORDS, max_size=3)}
        ),
        "schedule": st.fixed_dictionaries({"kind": st.just("constant"), "rate": st.floats(0, 1)}),
        "split": st.none() | st.lists(WORDS, max_size=3) | st.just({"by": "topic"}),
        "stop": st.integers(0, 9) | st.sampled_from(["never", "early"]),
        "mixture": st.dictionaries(WORDS.filter(bool), st.floats(0, 1), max_size=3),
    },
)


@st.composite
def recipes(draw):
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    stages = []
    for index, name in enumerate(names):
        stage = {"name": name, "use": TRAIN, **draw(SETTINGS)}
        earlier = st.sampled_from(names[:index]) if index else st.nothing()
        if index and draw(st.booleans()):
            stage["more"] = draw(st.lists(earlier.map(lambda n: f"${{{n}.log}}"), max_size=3))
        if index and draw(st.booleans()):
            stage["needs"] = draw(st.lists(earlier, max_size=2))
        stages.append(stage)
    return {"name": draw(NAMES), "seed": draw(st.integers()), "stages": draw(st.permutations(stages))}


@settings(max_examples=60, deadline=None)
@given(recipes())
def test_any_recipe_survives_being_written_and_read(data):
    recipe = check_recipe(parse_yaml(dump_yaml(data), source="a.yaml"), folder=Path("/"))
    again = check_recipe(parse_yaml(recipe.to_yaml(), source="b.yaml"), folder=Path("/"))
    assert again == recipe
    assert again.to_yaml() == recipe.to_yaml()
    assert [s.component.note for s in recipe.stages] == [s.get("note", "") for s in data["stages"]]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS.filter(bool), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(PLAIN)
def test_any_plain_data_survives_yaml(data):
    assert parse_yaml(dump_yaml(data), source="x.yaml").data == data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("5e-5", 5e-5),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1_000", 1000),
        ("-.inf", float("-inf")),
        ("12:30:00", "12:30:00"),
        ("2020-01-01 10:00", "2020-01-01 10:00"),
        ("~", None),
        ("null", None),
        ("'5'", "5"),
        ("!!str 5", "5"),
    ],
)
def test_yaml_values_are_those_of_version_1_2(text, value):
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


def test_anchors_and_merges_keep_their_own_lines():
    located = parse_yaml("a: &a\n  x: 1\n  y: 2\nb:\n  <<: *a\n  y: 3\n", source="f.yaml")
    assert located.data["b"] == {"x": 1, "y": 3}
    assert located.where("b", "y") == "f.yaml:6"
    assert located.where("b", "x") == "f.yaml:2"
    assert located.where("b", "nowhere") == "f.yaml:4"


def test_inputs_are_found_in_every_form():
    from recipe_stages import Source, Train

    assert stage_inputs(Train) == ["data", "more", "pair"]
    assert stage_inputs(Source) == []


@pytest.mark.parametrize(
    ("needs", "cycle"),
    [
        ({"a": ["b"], "b": ["a"]}, ["a", "b", "a"]),
        ({"x": [], "a": ["b", "x"], "b": ["c"], "c": ["a"]}, ["a", "b", "c", "a"]),
        ({"c": ["a"], "a": ["b"], "b": ["c"]}, ["c", "a", "b", "c"]),
        ({f"s{i}": [f"s{i - 1}"] if i else [] for i in range(5000)}, None),
    ],
)
def test_cycles_are_shown_from_the_first_stage_on_in_the_direction_of_need(needs, cycle):
    assert find_cycle(needs) == cycle


def test_shipped_recipes_are_found_by_name():
    with pytest.raises(UsageError) as caught:
        load_recipe("quickstrat")
    assert caught.value.hint == 'did you mean "quickstart"?'
    with pytest.raises(RecipeError, match="no such recipe file") as missing:
        load_recipe("nowhere/quickstart.yaml")
    assert missing.value.exit_status == 2


def test_a_mistyped_file_gives_the_nearest(tmp_path):
    load(tmp_path)
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "stdy.yaml")
    assert caught.value.hint == f'did you mean "{tmp_path / "study.yaml"}"?'


def test_loading_is_quick(tmp_path):
    text = "stages:\n" + "".join(
        f'  - name: s{i}\n    use: {TRAIN}\n    steps: 3\n    lora: {{rank: 4}}\n    note: "x"\n' for i in range(6)
    )
    load(tmp_path, text)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        load(tmp_path, text)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05


def test_loading_writes_nothing(tmp_path):
    load(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["study.yaml"]
