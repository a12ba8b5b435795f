"""Seeds, catalog, optional packages, quarantine, hashing: the small parts everything stands on."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.core.catalog import TABLES, Entry, find, load, table
from plait.core.hashing import hash_code, hash_json, hash_path
from plait.core.optional import check_installed, require
from plait.core.quarantine import Quarantine
from plait.core.references import parse_reference, stage_inputs
from plait.core.seeds import Seeds
from plait.errors import DataError, MissingExtra, RecipeError, UsageError, nearest
from toy_stages import Count, Write

NAMES = st.lists(st.one_of(st.integers(), st.text(max_size=8)), max_size=4)


class TestSeeds:
    @given(seed=st.integers(), path=NAMES)
    def test_equal_paths_give_equal_streams(self, seed, path):
        one, two = Seeds(seed).child(*path), Seeds(seed)
        for name in path:
            two = two.child(name)
        assert one.digest() == two.digest()
        assert np.array_equal(one.numpy().integers(0, 2**32, 4), two.numpy().integers(0, 2**32, 4))

    @given(seed=st.integers(), first=NAMES, second=NAMES)
    def test_different_paths_give_different_streams(self, seed, first, second):
        if first != second:
            assert Seeds(seed).child(*first).digest() != Seeds(seed).child(*second).digest()

    def test_names_do_not_run_together(self):
        root = Seeds(1)
        assert (
            len(
                {
                    root.child("ab").digest(),
                    root.child("a", "b").digest(),
                    root.child("1").digest(),
                    root.child(1).digest(),
                }
            )
            == 4
        )

    @given(bits=st.integers(1, 128))
    def test_integers_fit_their_bits(self, bits):
        assert 0 <= Seeds(3).child("x").integer(bits) < 2**bits

    def test_streams_look_uniform_and_uncorrelated(self):
        draws = np.array([Seeds(0).child("client", i).numpy().random(64) for i in range(256)])
        assert abs(draws.mean() - 0.5) < 0.01
        assert np.abs(np.corrcoef(draws)[np.triu_indices(256, 1)]).mean() < 0.12

    def test_the_numbers_never_change_between_releases(self):
        assert Seeds(7).child("curate", 3).numpy().integers(0, 1000, 4).tolist() == [926, 370, 7, 725]


class TestCatalog:
    @pytest.mark.parametrize("kind", TABLES)
    def test_every_entry_loads(self, kind):
        for name in table(kind):
            assert find(kind, name) is not None

    def test_dotted_path_needs_no_registration(self):
        assert find("stage", "toy_stages:Write") is Write

    @pytest.mark.parametrize(
        ("kind", "name", "words"),
        [
            ("stage", "data.curat", 'did you mean "data.curate"'),
            ("engine", "lokal", 'did you mean "local"'),
            ("stag", "x", 'did you mean "stage"'),
            ("stage", "no_such_module:X", "no module named 'no_such_module'"),
            ("stage", "toy_stages:Wrte", 'did you mean "Write"'),
        ],
    )
    def test_wrong_names_give_the_nearest(self, kind, name, words):
        with pytest.raises(UsageError) as caught:
            find(kind, name)
        assert words in str(caught.value)

    def test_a_bug_inside_a_module_is_not_called_a_missing_module(self, tmp_path, monkeypatch):
        (tmp_path / "broken_part.py").write_text("import not_installed_anywhere\n")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
            load("broken_part:X")

    def test_two_packages_that_claim_one_name_are_refused(self, monkeypatch):
        from importlib.metadata import EntryPoint

        point = EntryPoint("local", "other:Engine", "plait.engine")
        monkeypatch.setattr("plait.core.catalog.entry_points", lambda group: [point] if group == "plait.engine" else [])
        table.cache_clear()
        try:
            with pytest.raises(UsageError, match="claimed by"):
                table("engine")
        finally:
            table.cache_clear()

    def test_installed_packages_add_names(self, monkeypatch):
        from importlib.metadata import EntryPoint

        monkeypatch.setattr(
            "plait.core.catalog.entry_points", lambda group: [EntryPoint("toy", "toy_stages:Write", group)]
        )
        table.cache_clear()
        try:
            assert isinstance(table("stage")["toy"], Entry)
            assert find("stage", "toy") is Write
        finally:
            table.cache_clear()


class TestOptional:
    def test_missing_package_names_its_extra(self):
        with pytest.raises(MissingExtra) as caught:
            require("no_such_package.inside", extra="align", feature="training")
        assert 'pip install "plait[align]"' in str(caught.value)
        assert caught.value.exit_status == 2

    def test_checking_imports_nothing(self):
        code = (
            "import sys; from plait.core.optional import check_installed\n"
            "check_installed('torch', extra='align', feature='x'); print('torch' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
        with pytest.raises(MissingExtra, match="no_such_package"):
            check_installed("no_such_package.part", extra="align", feature="training")

    def test_broken_package_is_not_called_missing(self, tmp_path, monkeypatch):
        (tmp_path / "half_installed.py").write_text("import its_missing_dependency\n")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ModuleNotFoundError, match="its_missing_dependency"):
            require("half_installed", extra="x", feature="y")


class TestQuarantine:
    def test_starts_empty_each_time_so_nothing_is_counted_twice(self, tmp_path):
        for _ in range(2):
            quarantine = Quarantine(tmp_path / "q.jsonl")
            quarantine.add(where="a:1", reason="bad", record={"x": "é"})
            quarantine.add(where="a:2", reason="bad", record="y")
        assert len((tmp_path / "q.jsonl").read_text().splitlines()) == 2
        assert quarantine.counts == {"bad": 2}

    def test_long_and_undecodable_records_are_kept_readable(self, tmp_path):
        quarantine = Quarantine(tmp_path / "q.jsonl")
        quarantine.add(where="a:1", reason="long", record="x" * 10_000)
        quarantine.add(where="a:2", reason="bytes", record=b"\xff\xfe".decode("utf-8", "surrogateescape"))
        long, raw = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text(encoding="utf-8").splitlines()]
        assert long["record"].endswith("(10000 characters in all)")
        assert raw["record"].encode("utf-8", "surrogateescape") == b"\xff\xfe"

    def test_limit_is_a_share_of_what_was_read(self, tmp_path):
        quarantine = Quarantine(tmp_path / "q.jsonl")
        quarantine.add(where="a:1", reason="bad", record="x")
        quarantine.check(100, max_bad_fraction=0.01, where="a")
        with pytest.raises(DataError, match="1 of 99"):
            quarantine.check(99, max_bad_fraction=0.01, where="a")


class TestHashing:
    def test_folder_hash_sees_names_and_contents(self, tmp_path):
        for name, text in (("a", "1"), ("b", "2")):
            (tmp_path / name).write_text(text)
        before = hash_path(tmp_path)
        (tmp_path / "a").write_text("2")
        (tmp_path / "b").write_text("1")
        assert hash_path(tmp_path) != before

    def test_json_hash_ignores_key_order_only(self):
        assert hash_json({"a": 1, "b": [1, 2]}) == hash_json({"b": [1, 2], "a": 1})
        assert hash_json({"b": [2, 1]}) != hash_json({"b": [1, 2]})

    def test_code_hash_follows_imports_inside_functions(self, tmp_path, monkeypatch):
        package = tmp_path / "hashed_part"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "top.py").write_text("def f():\n    from hashed_part import helper\n    return helper\n")
        (package / "helper.py").write_text("x = 1\n")
        monkeypatch.syspath_prepend(tmp_path)
        before = hash_code("hashed_part.top")
        (package / "helper.py").write_text("x = 2\n")
        hash_code.cache_clear()
        assert hash_code("hashed_part.top") != before


class TestReferences:
    @given(st.text())
    def test_only_the_exact_shape_is_a_reference(self, text):
        reference = parse_reference(text)
        assert reference is None or text == "${" + ".".join(reference) + "}"

    def test_inputs_are_found_in_plain_and_list_settings(self):
        assert stage_inputs(Count) == ["text", "more"]
        assert stage_inputs(Write) == []


class TestErrors:
    def test_errors_survive_a_trip_between_processes(self):
        error = RecipeError("message", code="recipe.x", where="a:1", hint="do this")
        copy = pickle.loads(pickle.dumps(error))
        assert str(copy) == str(error) == "a:1: message; do this [recipe.x]"
        assert type(copy) is RecipeError

    @given(name=st.text(max_size=10), known=st.lists(st.text(min_size=1, max_size=10), max_size=30))
    def test_nearest_always_answers(self, name, known):
        assert nearest(name, known)


def test_stage_module_imports_nothing_heavy():
    code = (
        "import sys, plait.core.stage; print([m for m in ('torch', 'polars', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
