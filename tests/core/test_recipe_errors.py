"""Recipes that are wrong: every problem, at its line, with what to do; all of them at once."""

from __future__ import annotations

import pytest

from plait.core import recipe_stage
from plait.core.extras import missing_packages
from plait.core.recipe import load_recipe
from plait.errors import RecipeError

HEAD = """\
stages:
- name: t
  use: recipe_stages:Train
"""


def problems(folder, text, *overrides):
    """All problems as ``line: message; hint [code]`` without the folder."""
    path = folder / "r.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides=overrides)
    assert caught.value.exit_status == 2
    assert caught.value.problems[0] is caught.value
    assert all("\n" not in str(problem) for problem in caught.value.problems)
    return [str(problem).replace(f"{path}:", "").replace(f"{folder}/", "") for problem in caught.value.problems]


SETTINGS = [
    (
        "  stpes: 3",
        '4: unknown key "stpes" in stage t (recipe_stages:Train); did you mean "steps"? [recipe.unknown-key]',
    ),
    (
        "  steps: many",
        "4: steps of stage t is 'many': input should be a valid integer; "
        "`plait show recipe_stages:Train` lists what it takes [recipe.wrong-type]",
    ),
    (
        '  steps: "40"',
        "4: steps of stage t is '40': input should be a valid integer; "
        "`plait show recipe_stages:Train` lists what it takes [recipe.wrong-type]",
    ),
    (
        "  steps: true",
        "4: steps of stage t is True: input should be a valid integer; "
        "`plait show recipe_stages:Train` lists what it takes [recipe.wrong-type]",
    ),
    (
        "  steps: 1.5",
        "4: steps of stage t is 1.5: input should be a valid integer; "
        "`plait show recipe_stages:Train` lists what it takes [recipe.wrong-type]",
    ),
    (
        "  shuffle: no",
        "4: shuffle of stage t is 'no': input should be a valid boolean; "
        "`plait show recipe_stages:Train` lists what it takes [recipe.wrong-type]",
    ),
    (
        "  steps: 0",
        "4: steps of stage t is 0: input should be greater than or equal to 1; "
        "`plait show recipe_stages:Train` lists what it takes [recipe.bad-value]",
    ),
    (
        "  rate: .nan",
        "4: rate of stage t is nan: input should be a finite number; "
        "`plait show recipe_stages:Train` lists what it takes [recipe.bad-value]",
    ),
    (
        "  loss: dop",
        "4: loss of stage t is 'dop': input should be 'dpo', 'ipo' or 'sft'; did you mean \"dpo\"? [recipe.bad-value]",
    ),
    (
        "  lora:\n    targets: []\n    rnk: 8",
        '6: unknown key "rnk" in stage t (recipe_stages:Train); did you mean "rank"? [recipe.unknown-key]',
    ),
    (
        "  lora:\n    targets:\n      - a\n      - 7",
        "7: lora.targets.1 of stage t is 7: input should be a valid string; "
        "`plait show recipe_stages:Train` lists what it takes [recipe.wrong-type]",
    ),
    (
        "  schedule:\n    kind: warmup\n    rate: 1.0\n    stpes: 3",
        '4: stage t (recipe_stages:Train) needs the key "schedule.steps"; '
        "`plait show recipe_stages:Train` describes it [recipe.missing-key]",
        '7: unknown key "stpes" in stage t (recipe_stages:Train); did you mean "steps"? [recipe.unknown-key]',
    ),
    (
        "  schedule: {rate: 1.0}",
        "4: schedule of stage t is {'rate': 1.0}: unable to extract tag using discriminator 'kind'; "
        "`plait show recipe_stages:Train` lists what it takes [recipe.bad-value]",
    ),
    (
        "  split:\n    by: topc",
        "5: split.by of stage t is 'topc': input should be 'owner' or 'topic'; "
        'did you mean "topic"? [recipe.bad-value]',
    ),
    (
        "  split:\n    - a\n    - 3",
        "6: split.1 of stage t is 3: input should be a valid string; "
        "`plait show recipe_stages:Train` lists what it takes [recipe.wrong-type]",
    ),
    (
        "  stop: erly",
        "4: stop of stage t is 'erly': input should be a valid integer or input should be 'never' or 'early'; "
        'did you mean "early"? [recipe.bad-value]',
    ),
    (
        "  mixture:\n    web: 0.5\n    books: half",
        "6: mixture.books of stage t is 'half': input should be a valid number; "
        "`plait show recipe_stages:Train` lists what it takes [recipe.wrong-type]",
    ),
    (
        "  loss: sft\n  note: forbidden",
        "2: stage t: loss sft takes no note; `plait show recipe_stages:Train` lists what it takes [recipe.bad-value]",
    ),
    ("  note: usage", "2: stage t: this note is no use; write another [recipe.bad-value]"),
    (
        "  data: ''",
        "4: the path is empty; give a file or ${stage.output} [recipe.missing-file]",
    ),
    ("  data: r.yml", '4: r.yml does not exist; did you mean "r.yaml"? [recipe.missing-file]'),
    (
        "  more:\n    - r.yaml\n    - none/x.txt",
        "6: none/x.txt does not exist; there is no folder none either [recipe.missing-file]",
    ),
    (
        "  data: ${t2.log}/part.txt",
        "4: '${t2.log}/part.txt' is not a reference; "
        "write the whole value as ${stage.output}, e.g. ${curate.documents} [recipe.bad-reference]",
    ),
    (
        "  note: see ${t.log}",
        "4: note of stage t is 'see ${t.log}', but it takes no output of a stage; "
        "inputs of this stage: data, more, pair [recipe.misplaced-reference]",
    ),
    (
        "  data: ${tt.log}",
        '4: stage t needs "tt", and there is no such stage; nothing is known here [recipe.dangling-reference]',
    ),
    ("  data: ${t.log}", "4: stage t waits for itself; refer to another stage [recipe.cycle]"),
    ("  needs: [t]", "4: stage t waits for itself; refer to another stage [recipe.cycle]"),
    (
        "  needs: other",
        "4: needs is 'other', not a list of stage names; write needs: [stage, stage] [recipe.wrong-type]",
    ),
    (
        "  note: ${vars.nte}\nvars: {note: x}",
        "4: '${vars.nte}' refers to a variable that is not under `vars:`; "
        'did you mean "note"? [recipe.dangling-reference]',
    ),
    (
        "  note: ${vars.a}\nvars:\n  b: x\n  a: ${vars.b}",
        "7: the variable a is '${vars.b}', and variables refer to nothing; "
        "write the value itself [recipe.bad-reference]",
    ),
]


@pytest.mark.parametrize("case", SETTINGS, ids=lambda case: case[0].strip().replace("\n", " "))
def test_a_wrong_setting_is_shown_at_its_own_line(tmp_path, case):
    text, *expected = case
    assert problems(tmp_path, f"{HEAD}{text}\n") == expected


STRUCTURE = [
    ("", "1: the recipe is empty; begin with `name:` and `stages:` [recipe.not-a-mapping]"),
    ("# nothing\n", "1: the recipe is empty; begin with `name:` and `stages:` [recipe.not-a-mapping]"),
    ("- a\n", "1: the recipe is ['a'], not a mapping; begin with `name:` and `stages:` [recipe.not-a-mapping]"),
    (
        "name: a\n",
        "1: the recipe has no stages; list them under `stages:`, each beginning with `- name:` [recipe.no-stages]",
    ),
    ("name: a\nstagse: []\n", '2: the recipe has no stages; "stagse" should be "stages" [recipe.no-stages]'),
    (
        "name: a\nstages: {t: 1}\n",
        "2: stages is {'t': 1}, not a list; "
        "list them under `stages:`, each beginning with `- name:` [recipe.no-stages]",
    ),
    (
        "name: a\n\tseed: 1\n",
        "2: not valid YAML: found character '\\t' that cannot start any token; "
        "indent with spaces, not tabs [recipe.bad-yaml]",
    ),
    (
        "name: a\nstages: [\n",
        "3: not valid YAML: expected the node content, but found '<stream end>'; "
        "check the indentation, quotes and colons here [recipe.bad-yaml]",
    ),
    (
        "name: a\nnote: b: c\n",
        '2: not valid YAML: mapping values are not allowed here; put a text that holds ": " in quotes '
        "[recipe.bad-yaml]",
    ),
    (
        "name: a\nseed: 1\nname: b\n",
        '3: the key "name" stands twice, first on line 1; write it once [recipe.duplicate-key]',
    ),
    ("name: a\n\nx: \x00\n", "3: not valid YAML: the character '\\x00' is not allowed; remove it [recipe.bad-yaml]"),
    ("a: &a [*a]\n", "1: not valid YAML: an anchor contains itself; write the value out [recipe.bad-yaml]"),
    (
        "name: a\nx: !!python/object:os.system y\n",
        "2: not valid YAML: the tag tag:yaml.org,2002:python/object:os.system is not allowed; remove it "
        "[recipe.bad-yaml]",
    ),
    (b"name: a\nx: \xff\n", "2: byte 11 is not UTF-8 text; save the file as UTF-8 [recipe.not-utf8]"),
    ("x: " + "[" * 3000, "1: not valid YAML: nested too deeply; check the indentation, quotes and colons here "
     "[recipe.bad-yaml]"),
    (
        "\n".join(["a0: &a0 [1, 1, 1]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9))]),
        "1: not valid YAML: more than 100000 values; do not nest anchors in anchors [recipe.bad-yaml]",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), STRUCTURE)
def test_a_wrong_file_is_refused(tmp_path, text, expected):
    assert problems(tmp_path, text) == [expected]


OVERRIDES = [
    ("t.stpes=3", 'unknown key "stpes" in stage t (recipe_stages:Train); did you mean "steps"? [recipe.unknown-key]'),
    (
        "t.steps=x",
        "steps of stage t is 'x': input should be a valid integer; "
        "`plait show recipe_stages:Train` lists what it takes [recipe.wrong-type]",
    ),
    ("t.lora.rnk=3", 'unknown key "rnk" in stage t (recipe_stages:Train); did you mean "rank"? [recipe.unknown-key]'),
    ("trian.steps=3", '"trian.steps" names nothing in this recipe; known: engine, name, seed, t, vars.topic '
     "[recipe.bad-override]"),
    ("sed=3", '"sed" names nothing in this recipe; did you mean "seed"? [recipe.bad-override]'),
    ("vars.topc=3", '"vars.topc" names nothing in this recipe; did you mean "vars.topic"? [recipe.bad-override]'),
    ("t=3", '"t" is a stage, not a setting; write t.setting=value [recipe.bad-override]'),
    ("t.steps", '"t.steps" has no value; write key=value, e.g. align.steps=72 [recipe.bad-override]'),
    ("t.note=[", "\"t.note=[\": not valid YAML: expected the node content, but found '<stream end>'; "
     "check the indentation, quotes and colons here [recipe.bad-override]"),
    ("t.steps.x=3", '"t.steps.x=3": there is nothing at t.steps.x to set; check the path of the setting '
     "[recipe.bad-override]"),
    ("seed=x", "seed is 'x', not a whole number; give a whole number, or leave it out [recipe.wrong-type]"),
    ("engine=rya", 'no engine is called "rya"; did you mean "ray"? [recipe.unknown-engine]'),
    ("t.data=none.txt", "none.txt does not exist; known: r.yaml [recipe.missing-file]"),
    ("vars.topic=[1]", "note of stage t is [1]: input should be a valid string; "
     "`plait show recipe_stages:Train` lists what it takes [recipe.wrong-type]"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "expected"), OVERRIDES)
def test_a_wrong_override_is_placed_on_the_command_line(tmp_path, monkeypatch, override, expected):
    monkeypatch.chdir(tmp_path)
    text = HEAD + "  steps: 3\n  note: ${vars.topic}\nvars: {topic: x}\n"
    assert problems(tmp_path, text, override) == [f"command line: {expected}"]


def test_every_problem_is_reported_in_the_order_of_the_file(tmp_path):
    text = """\
name: My Study
sed: 3
engine: lcoal
stages:
  - name: a
    use: recipe_stages:Trian
  - name: b
    use: recipe_stages:Train
    steps: 0
    stpes: 1
  - name: b
    use: recipe_stages:Train
  - just a word
  - name: c
    use: recipe_stages:Source
    needs: [a, d]
  - name: e
    use: recipe_stages:Train
    data: ${c.document}
  - name: f
    needs: [g]
    use: recipe_stages:Train
  - name: g
    use: recipe_stages:Train
    needs: [f]
  - use: recipe_stages:Train
  - {name: vars, use: "recipe_stages:Train"}
  - {name: h, use: "recipe_stages:Source", topic: "${vars.x}"}
  - {name: i}
"""
    found = problems(tmp_path, text, "nothing=1")
    codes = [(line.split(":")[0], line.rsplit("[recipe.", 1)[1][:-1]) for line in found]
    assert codes == [
        ("command line", "bad-override"),
        ("1", "bad-name"),
        ("2", "unknown-key"),
        ("3", "unknown-engine"),
        ("6", "unknown-component"),
        ("9", "bad-value"),
        ("10", "unknown-key"),
        ("11", "duplicate-stage"),
        ("13", "wrong-type"),
        ("14", "missing-key"),
        ("20", "cycle"),
        ("26", "bad-name"),
        ("27", "bad-name"),
        ("28", "dangling-reference"),
        ("29", "missing-key"),
    ]


def test_references_are_checked_against_stages_and_outputs(tmp_path):
    text = """\
stages:
  - {name: source, use: "recipe_stages:Source", topic: x}
  - name: one
    use: recipe_stages:Train
    data: ${source.document}
  - name: two
    use: recipe_stages:Train
    more:
      - ${sourec.documents}
    needs: [on]
"""
    assert problems(tmp_path, text) == [
        '5: stage source has no output "document"; did you mean "documents"? [recipe.dangling-reference]',
        '8: stage two needs "sourec", and there is no such stage; did you mean "source"? [recipe.dangling-reference]',
        '10: stage two needs "on", and there is no such stage; did you mean "one"? [recipe.dangling-reference]',
    ]


def test_a_cycle_is_shown_once_as_it_runs(tmp_path):
    text = """\
stages:
  - {name: z, use: "recipe_stages:Source", topic: x}
  - {name: a, use: "recipe_stages:Train", data: "${c.log}", needs: [z]}
  - {name: b, use: "recipe_stages:Train", data: "${a.log}"}
  - {name: c, use: "recipe_stages:Train", data: "${b.log}"}
"""
    assert problems(tmp_path, text) == [
        "3: stages wait for each other: a -> c -> b -> a; remove one of these references [recipe.cycle]"
    ]


COMPONENTS = [
    ("recipe_stages:Trian", 'module recipe_stages has no "Trian"; did you mean "Train"? [recipe.unknown-component]'),
    (
        "nowhere.at.all:Train",
        "\"nowhere.at.all:Train\" cannot be imported: no module named 'nowhere'; "
        "check the spelling, and that the folder is on PYTHONPATH [recipe.unknown-component]",
    ),
    (
        "recipe_stages:NotAStage",
        '"recipe_stages:NotAStage" is not a stage; a stage subclasses plait.core.stage.Stage [recipe.not-a-stage]',
    ),
    (
        "recipe_stages:Greedy",
        'recipe_stages:Greedy has a setting "needs", a key that recipes use themselves; '
        "rename the setting in the class [recipe.not-a-stage]",
    ),
    ("recipe_stages:NeedsExtra", 'stage t: needs quantum; pip install "plait[quantum]" [recipe.missing-extra]'),
    ("3", "use is 3, not a name; add `use:`; `plait ls stage` lists what there is [recipe.wrong-type]"),
]


@pytest.mark.parametrize(("use", "expected"), COMPONENTS)
def test_a_component_that_cannot_be_used(tmp_path, use, expected):
    assert problems(tmp_path, f"stages:\n- name: t\n  use: {use}\n") == [f"3: {expected}"]


def test_a_module_that_breaks_on_import_is_a_problem_of_its_line(tmp_path, monkeypatch):
    (tmp_path / "broken_module_for_test.py").write_text("import no_such_package_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    [line] = problems(tmp_path, "stages:\n- name: t\n  use: broken_module_for_test:X\n")
    assert line.startswith('3: "broken_module_for_test:X" cannot be imported: ModuleNotFoundError')


def test_an_extra_that_is_not_installed_is_named_before_its_stage_is_imported(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe_stage, "missing_packages", lambda extra: ["polars"] if extra == "agents" else [])
    assert problems(tmp_path, "stages:\n- name: t\n  use: agents.guessing_game\n") == [
        "3: stage t (agents.guessing_game) needs polars, not installed; "
        'pip install "plait[agents]" [recipe.missing-extra]'
    ]


def test_missing_packages_follow_extras_within_extras(monkeypatch):
    from importlib import metadata

    declared = [
        "numpy>=2",
        "pytest>=9; extra == 'toy'",
        "surely-not-there>=1; (python_version > '3') and extra == 'toy'",
        'plait[inner]; extra == "toy"',
        "absent[x]>=1; extra == 'inner'",
        "not-asked; extra == 'other'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: declared)
    missing_packages.cache_clear()
    try:
        assert missing_packages("toy") == ["absent", "surely-not-there"]
        assert missing_packages("nothing") == []
    finally:
        missing_packages.cache_clear()
