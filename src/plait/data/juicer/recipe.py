"""A recipe of Data-Juicer as plain facts: what is read, what is done, what is written, and what has no meaning here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, cast

from plait.core.problems import Problems, shorten
from plait.core.yaml import Located, load_yaml
from plait.data.juicer.dataset import parse_dataset, parse_dataset_path
from plait.data.juicer.flags import IGNORED, MAPPED, REFUSED, VALIDATOR
from plait.data.juicer.operations import NO_OPERATION, OpSetting, read_operations
from plait.data.read.sources import Source
from plait.errors import RecipeError, UsageError, nearest

_FORMATS = ("jsonl", "json", "parquet")


@dataclass(frozen=True)
class JuicerRecipe:
    """What a Data-Juicer recipe says.

    Args:
        path: The file.
        project: Its name for the work.
        sources: What is read; empty if the recipe leaves that to the command line.
        max_rows: At most so many rows of all sources together, shared out by their weights.
        suffixes: Suffixes of the files read in a folder; all known ones when empty.
        with_suffix: Whether each row carries the suffix of its file.
        text_key: Field that holds the text.
        required: Fields that every record must have.
        ops: The operations, as `plait.data.plan.read_ops` takes them.
        export_path: Where the result goes.
        export_format: ``jsonl``, ``json`` (one array) or ``parquet``; ``None`` leaves it to the suffix.
        export_shard_bytes: About how large each file of the result is; 0 for a single file.
        keep_stats: Whether the numbers that filters measured stay in the result.
        keep_hashes: Whether what deduplicators compared stays in the result.
        processes: Worker processes.
        engine: ``local`` or ``ray``.
        ray_address: The Ray cluster to join, if the recipe names one; ``auto`` for one that runs on this machine.
        trace_rows: Examples shown for each operation; 0 for none.
        trace_ops: Operations to show examples of; all when empty.
        trace_fields: Fields shown with each example.
        percentiles: Percentiles of an analysis, 0 to 1.
        ignored: Settings that change nothing here, each with the reason.
    """

    path: Path
    project: str
    sources: tuple[Source, ...]
    max_rows: int | None
    suffixes: tuple[str, ...]
    with_suffix: bool
    text_key: str
    required: tuple[str, ...]
    ops: tuple[OpSetting, ...]
    export_path: Path | None
    export_format: str | None
    export_shard_bytes: int
    keep_stats: bool
    keep_hashes: bool
    processes: int | None
    engine: str
    ray_address: str | None
    trace_rows: int
    trace_ops: tuple[str, ...]
    trace_fields: tuple[str, ...]
    percentiles: tuple[float, ...]
    ignored: tuple[str, ...]


def is_juicer_recipe(recipe: Mapping[str, Any]) -> bool:
    """Whether a recipe is one of Data-Juicer: it has ``process`` and no ``stages``.

    Example:
        >>> is_juicer_recipe({"dataset_path": "a.jsonl", "process": []}), is_juicer_recipe({"stages": []})
        (True, False)
    """
    return "process" in recipe and "stages" not in recipe


def read_juicer_recipe(path: Path, *, instead: Mapping[str, Any] | None = None) -> JuicerRecipe:
    """Read a recipe of Data-Juicer, of its first release or of 1.6.1.

    Paths stay as they are, relative to the working directory, as in Data-Juicer.

    Args:
        path: The YAML file, or the name of a recipe that comes with Plait, such as ``web``.
        instead: Settings typed on a command line, which take the place of the file's.

    Raises:
        RecipeError: Everything that is wrong with it, each with ``file:line``: an unknown operation, setting or
            value, or a setting that cannot be honoured and would change the result.
    """
    path = _found(path)
    located = load_yaml(path)
    if not isinstance(located.data, dict) or not is_juicer_recipe(cast("Mapping[str, Any]", located.data)):
        raise RecipeError(
            "this is not a Data-Juicer recipe: there is no process",
            code="recipe.not-juicer",
            where=located.where(),
            hint="a recipe of plait has stages; run it with `plait run`",
        )
    if instead:
        located = replace(located, data={**located.data, **instead})
    problems = Problems(located, typed={(key,) for key in instead or ()})
    recipe = _Reader(path, located, problems).read()
    problems.stop()
    return recipe


def shipped_juicer_recipes() -> Mapping[str, Path]:
    """The recipes of this kind that come with Plait, by name.

    Example:
        >>> sorted(shipped_juicer_recipes())[:2]
        ['code', 'conversations']
    """
    folder = Path(str(resources.files("plait") / "recipes" / "data"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _found(path: Path) -> Path:
    if path.is_file() or path.suffix or len(path.parts) != 1:
        return path
    shipped = shipped_juicer_recipes()
    if path.name not in shipped:
        raise RecipeError(
            f'there is no file and no shipped recipe called "{path.name}"',
            code="recipe.unknown",
            where=str(path),
            hint=nearest(path.name, shipped),
        )
    return shipped[path.name]


class _Reader:
    """Takes one setting after the other from the file."""

    def __init__(self, path: Path, located: Located, problems: Problems) -> None:
        self._path = path
        self._data = cast("Mapping[str, Any]", located.data)
        self._problems = problems

    def read(self) -> JuicerRecipe:
        """The whole recipe."""
        ignored = self._other_settings()
        text_key = next(iter(self._texts("text_keys")), "text")
        in_ops = dict[str, list[str]]()
        ops = read_operations(self._data.get("process"), text_key, self._problems, in_ops)
        ignored += in_ops.pop(NO_OPERATION, [])
        ignored += [f"{key} of {', '.join(dict.fromkeys(names))}: {_WHY_OP}" for key, names in in_ops.items()]
        sources, most = self._sources(ignored)
        names = [name for op in ops for name in op]
        required = self._required(ignored)
        shown = self._number("trace_num", 10) or 0
        address = self._data.get("ray_address")
        if address is not None and not isinstance(address, str):
            self._wrong("ray_address", "an address, such as head:6379")
        engine = self._data.get("executor_type") or "default"
        if engine not in ("default", "ray", "ray_partitioned"):
            self._wrong("executor_type", "one of default, ray, ray_partitioned")
        return JuicerRecipe(
            path=self._path,
            project=str(self._data.get("project_name") or self._path.stem),
            sources=sources,
            max_rows=most,
            suffixes=tuple(f".{suffix.lstrip('.')}" for suffix in self._texts("suffixes")),
            with_suffix=self._add_suffix(ignored) or "suffix_filter" in names,
            text_key=text_key,
            required=required,
            ops=tuple(ops),
            export_path=self._export_path(),
            export_format=self._export_format(),
            export_shard_bytes=self._number("export_shard_size", 0) or 0,
            keep_stats=self._flag("keep_stats_in_res_ds"),
            keep_hashes=self._flag("keep_hashes_in_res_ds"),
            processes=self._number("np", None, least=1),
            engine="ray" if str(engine).startswith("ray") else "local",
            ray_address=str(address) if address else None,
            trace_rows=shown if self._flag("open_tracer") else 0,
            trace_ops=self._texts("op_list_to_trace"),
            trace_fields=self._texts("trace_keys"),
            percentiles=self._percentiles(),
            ignored=tuple(ignored),
        )

    def _other_settings(self) -> list[str]:
        ignored = list[str]()
        for key, value in self._data.items():
            root = key.split(".")[0]
            if root in IGNORED:
                ignored.append(f"{key}: {IGNORED[root]}")
            elif root in REFUSED:
                if value:
                    self._problems.add(f"{key} is not supported", code="unsupported", path=(key,), hint=REFUSED[root])
            elif key not in MAPPED:
                known = [*MAPPED, *IGNORED]
                self._problems.add(f'unknown key "{key}"', code="unknown-key", path=(key,), hint=nearest(key, known))
        return ignored

    def _add_suffix(self, ignored: list[str]) -> bool:
        asked = self._flag("add_suffix")
        if asked:
            ignored.append("add_suffix: rows of files that are one text each always have theirs, other records none")
        return asked

    def _sources(self, ignored: list[str]) -> tuple[tuple[Source, ...], int | None]:
        given = self._data.get("dataset_path")
        if given:
            try:
                paths: list[Any] = cast("list[Any]", given) if isinstance(given, list) else [given]
                return tuple(source for one in paths for source in parse_dataset_path(str(one))), None
            except UsageError as error:
                self._problems.add(error.message, code="bad-value", path=("dataset_path",), hint=error.hint)
                return (), None
        if self._data.get("dataset"):
            return parse_dataset(self._data["dataset"], self._problems, ignored)
        return (), None

    def _required(self, ignored: list[str]) -> tuple[str, ...]:
        found = list[str]()
        given: Any = self._data.get("validators") or []
        for number, validator in enumerate(given):
            kind = validator.get("type") if isinstance(validator, Mapping) else None
            if kind == "required_fields":
                settings = cast("Mapping[str, Any]", validator)
                found += settings.get("required_fields") or []
                for key in settings.keys() - {"type", "required_fields"}:
                    if key in VALIDATOR:
                        ignored.append(f"{key} of validators: {VALIDATOR[key]}")
                        continue
                    self._problems.add(
                        f'unknown key "{key}" of the validator',
                        code="unknown-key",
                        path=("validators", number, key),
                        hint=nearest(key, ["required_fields", *VALIDATOR]),
                    )
            else:
                self._problems.add(
                    f"a validator of type {kind!r} is not supported",
                    code="unsupported",
                    path=("validators", number),
                    hint="known: required_fields",
                )
        return tuple(dict.fromkeys(found))

    def _export_path(self) -> Path | None:
        given = self._data.get("export_path")
        if given is not None and not isinstance(given, str):
            self._wrong("export_path", "a path")
            return None
        if not given:
            return None
        if "://" in given:
            self._problems.add(
                f"export_path is {shorten(given)}: an address is read, but not written to",
                code="unsupported",
                path=("export_path",),
                hint="export to a file here, and copy it there afterwards",
            )
            return None
        path, kind = Path(given), self._data.get("export_type")
        # The suffix says how a file is written.
        return path.with_name(f"{path.name}.{kind}") if kind in _FORMATS and not path.suffix and path.name else path

    def _export_format(self) -> str | None:
        given = self._data.get("export_type")
        if given in (None, ""):
            return None
        if given not in _FORMATS:
            self._wrong("export_type", f"one of {', '.join(_FORMATS)}")
        return str(given)

    def _percentiles(self) -> tuple[float, ...]:
        given: Any = self._data.get("percentiles") or []
        if not isinstance(given, Sequence) or not all(isinstance(p, int | float) and 0 <= p <= 1 for p in given):
            self._wrong("percentiles", "a list of numbers from 0 to 1")
            return ()
        return tuple(float(p) for p in given)

    def _texts(self, key: str) -> tuple[str, ...]:
        given = self._data.get(key)
        if given is None or given == "":
            return ()
        if isinstance(given, str):
            return (given,)
        if not isinstance(given, list) or not all(isinstance(one, str) for one in cast("list[Any]", given)):
            self._wrong(key, "a text or a list of texts")
            return ()
        return tuple(cast("list[str]", given))

    def _flag(self, key: str) -> bool:
        given = self._data.get(key)
        # Words that Data-Juicer's YAML 1.1 takes for truth values.
        words = {"yes": True, "on": True, "no": False, "off": False, "none": False}
        value = words.get(str(given).lower(), given)
        if not isinstance(value, bool):
            self._wrong(key, "true or false")
        return value is True

    def _number(self, key: str, default: int | None, *, least: int = 0) -> int | None:
        given = self._data.get(key)
        if given is None:
            return default
        if isinstance(given, bool) or not isinstance(given, int) or given < least:
            self._wrong(key, f"a whole number from {least}")
            return default
        return given

    def _wrong(self, key: str, expected: str) -> None:
        self._problems.add(f"{key} is {shorten(self._data[key])}, not {expected}", code="bad-value", path=(key,))


_WHY_OP = "how an operation is run follows from the data and the machine"
