"""Documentation out of Python sources."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from plait.data.sources import python_documents
from plait.data.topics import LANGUAGE, NETWORK, SYSTEM, TEXT, topic_of
from plait.errors import DataError


@pytest.fixture
def library(tmp_path: Path) -> Path:
    (tmp_path / "json" / "tests").mkdir(parents=True)
    (tmp_path / "json" / "__init__.py").write_text('"""About json."""\nraise SystemExit("never imported")\n')
    (tmp_path / "json" / "tests" / "test_a.py").write_text('"""A test."""\n')
    (tmp_path / "socket.py").write_text(
        'if True:\n    class A:\n        """A class."""\n        def f(self):\n            """First."""\n'
        'else:\n    class A:\n        """Another."""\ntry:\n    pass\nexcept OSError:\n    async def g():\n'
        '        """\n        Indented\n            more.\n        """\n'
    )
    (tmp_path / "broken.py").write_text("def (:\n")
    (tmp_path / "pydoc_data").mkdir()
    (tmp_path / "pydoc_data" / "topics.py").write_text("topics = {'b': 'About b\\n', 'a': 'About ' 'a'}\n")
    return tmp_path


def test_every_docstring_is_a_document(library: Path) -> None:
    found = {d["id"]: (d["text"], d["group"]) for d in python_documents(library)}
    assert found == {
        "json": ("About json.", TEXT),
        "socket.A": ("A class.", NETWORK),
        "socket.A.f": ("First.", NETWORK),
        "socket.A#2": ("Another.", NETWORK),
        "socket.g": ("Indented\n    more.", NETWORK),
        "topics.a": ("About a", LANGUAGE),
        "topics.b": ("About b", LANGUAGE),
    }


def test_no_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.no-python-docs"):
        list(python_documents(tmp_path))


def test_topics_by_family() -> None:
    assert [topic_of(m) for m in ("multiprocessing.pool", "urllib.parse", "csv", "ast", "unheard_of")] == [
        SYSTEM,
        NETWORK,
        TEXT,
        LANGUAGE,
        LANGUAGE,
    ]


def test_reading_the_real_library_imports_none_of_it() -> None:
    code = (
        "import sys; from plait.data.sources import python_documents; from itertools import islice\n"
        "before = set(sys.modules); n = len(list(islice(python_documents(), 1500)))\n"
        "new = {m.split('.')[0] for m in set(sys.modules) - before}\n"
        "print(n, sorted(new & {'asyncio', 'tkinter', 'antigravity'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == ["1500", "[]\n"]


@pytest.mark.slow
def test_the_real_library_has_thousands_of_documents_for_four_owners() -> None:
    documents = list(python_documents())
    ids = [d["id"] for d in documents]
    assert len(set(ids)) == len(ids) > 6_000
    assert {"asyncio.tasks.wait_for", "json", "topics.assignment"} <= set(ids)
    assert not [i for i in ids if ".test" in i and i.startswith(("test.", "unittest.test"))]
    groups = Counter(d["group"] for d in documents)
    assert len(groups) == 4
    assert min(groups.values()) > max(groups.values()) / 2


def test_documents_come_in_order_of_module() -> None:
    modules = [d["id"].split(".")[0] for d in islice(python_documents(), 800)]
    assert modules == sorted(modules)
