"""The JSON Schema for editors agrees with what the loader accepts and refuses."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from plait.core.schema import json_schema
from plait.core.yaml import parse_yaml

GAME = "{name: simulate, use: agents.guessing_game, %s}"
FEDERATE = "{name: federate, use: federate.lora, %s}"


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(json.dumps(json_schema()))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def complaints(validator, stage, top=""):
    data = parse_yaml(f"{top}\nstages: [{stage}]\n", source="x.yaml").data
    return [error.message for error in validator.iter_errors(data)]


@pytest.mark.parametrize(
    "stage",
    [
        GAME % "agents: 4, needs: [other]",
        GAME % 'agents: "${vars.agents}"',
        GAME % "llm: local",
        FEDERATE % "documents: a.parquet",
        FEDERATE % 'documents: "${curate.documents}", lora: {rank: 4, targets: [q_proj]}',
        FEDERATE % 'documents: "${curate.documents}", lora: {rank: "${vars.rank}"}',
        '{name: own, use: "package.module:Class", anything: [1, {goes: here}]}',
    ],
)
def test_accepts(validator, stage):
    assert complaints(validator, stage) == []


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (GAME % "agent: 4", "'agent' was unexpected"),
        (GAME % "agents: many", "'many' is not valid under any of the given schemas"),
        (GAME % "agents: 1", "1 is not valid under any of the given schemas"),
        (FEDERATE % "documents: a, lora: {rnk: 4}", "{'rnk': 4} is not valid"),
        (FEDERATE % "documents: 5", "5 is not valid under any"),
        (FEDERATE % "rounds: 1", "'documents' is a required property"),
        (FEDERATE % "documents: a, rule: medain", "'medain' is not valid"),
        ("{name: simulate, use: agents.guesing_game}", "'agents.guesing_game' is not valid"),
        ("{use: agents.guessing_game}", "'name' is a required property"),
        ("{name: simulate}", "'use' is a required property"),
        ("{name: My Stage, use: agents.guessing_game}", "'My Stage' does not match"),
    ],
)
def test_refuses_with_one_complaint(validator, stage, words):
    found = complaints(validator, stage)
    assert any(words in message for message in found), found
    assert len(found) == 1, found


def test_refuses_unknown_top_level_keys(validator):
    assert complaints(validator, GAME % "agents: 4", "sed: 3")


def test_settings_carry_their_docs_and_defaults():
    rounds = json_schema()["$defs"]["federate.lora"]["properties"]["rounds"]
    assert rounds["description"] == "Rounds of federated averaging."
    assert rounds["default"] == 2
