"""Build the pages that the source itself knows best: errors, components, command line, differences from Data-Juicer.

    python docs/build.py            # writes docs/errors.md, components.md, cli.md, data-differences.md
    python docs/build.py --check    # exit 1 if one of them is not what it would write

`tests/contracts/test_docs.py` runs the check, so these pages cannot fall behind.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "plait"


def main() -> int:
    """Write or check every page."""
    pages = {
        "errors.md": errors_page(),
        "components.md": components_page(),
        "cli.md": cli_page(),
        "data-differences.md": differences_page(),
    }
    stale: list[str] = []
    for name, text in pages.items():
        path = ROOT / "docs" / name
        if "--check" in sys.argv:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(name)
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        sys.stderr.write(f"docs: {', '.join(stale)} would change; run `make docs`\n")
    return 1 if stale else 0


def differences_page() -> str:
    """Every known difference from Data-Juicer's answers, as the parity tests and the operations tell it."""
    sys.path.insert(0, str(ROOT / "tests"))
    from parity.exceptions import DIFFERENCES
    from parity.settings import LEFT_OUT

    what = {"stats": "number", "kept": "decision", "output": "text", "error": "error there, answer here"}
    told: dict[tuple[str, str], set[str]] = {}
    stays: set[tuple[str, str]] = set()
    for difference in DIFFERENCES:
        key = (difference.op, difference.why)
        told.setdefault(key, set()).add(what[difference.what])
        if difference.settings.get("compat") == "data-juicer":
            stays.add(key)
    lines = [
        "# Where answers differ from Data-Juicer's",
        "",
        "Every deterministic operation is compared with Data-Juicer 1.6.1 on some 3,500 texts (`make parity`): numbers",
        "to 1e-9, decisions and texts exactly. These are all the differences; one that no text shows fails the test.",
        "`compat: data-juicer` on an operation that has it brings Data-Juicer's answer back, but where the last column",
        "says so.",
        "",
        "| operation | what | why | also with `compat` |",
        "|---|---|---|---|",
    ]
    for (op, why), kinds in sorted(told.items()):
        cell = why.replace("|", "\\|")
        lines.append(f"| `{op}` | {', '.join(sorted(kinds))} | {cell} | {'yes' if (op, why) in stays else ''} |")
    lines += ["", "## Deliberate, and not seen on those texts", ""]
    lines += [f"- `{name}`: {text}" for name, text in sorted(_differing())]
    lines += ["", "## Not compared", ""]
    lines += [f"- `{name}`: {why}" for name, why in sorted(LEFT_OUT.items())]
    return "\n".join(lines) + "\n"


def _differing() -> list[tuple[str, str]]:
    """Operations whose docstring says that they differ, and how."""
    from plait.core.catalog import load
    from plait.data.catalog import OPS

    found: list[tuple[str, str]] = []
    for name, entry in OPS.items():
        text = inspect.getdoc(load(entry.path)) or ""
        if "Differs:" in text:
            found.append((name, " ".join(text.split("Differs:", 1)[1].split("\n\n", 1)[0].split())))
    return found


def errors_page() -> str:
    """One entry per error code: what it says and what it advises, as the source has them."""
    entries: dict[str, list[tuple[str, str, str]]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            arguments = {k.arg: k.value for k in call.keywords if k.arg}
            if "code" not in arguments or not call.args:
                continue
            prefix = "recipe." if _callee(call).endswith("problems.add") else ""
            for code in _texts(arguments["code"]):
                message, hint = _words(call.args[0]), _words(arguments["hint"]) if "hint" in arguments else ""
                place = str(path.relative_to(SOURCE))
                entries.setdefault(prefix + code, []).append((message, hint, place))
    lines = [
        "# Errors",
        "",
        "Every error is one line: where, what happened with the values, what to do, and its code. Exit status 2",
        "means a usage or recipe mistake found before any work, 1 a failure while working. `…` stands for a value.",
        "",
    ]
    for code in sorted(entries):
        lines.append(f"### `{code}`")
        lines.append("")
        for message, hint, place in sorted(set(entries[code])):
            lines.append(f"- {message}{f'. *{hint}*' if hint and hint != '…' else ''} ({place})")
        lines.append("")
    return "\n".join(lines)


def components_page() -> str:
    """Every catalog entry with its settings."""
    from plait.core.catalog import TABLES, load, table

    lines = ["# Components", "", "What recipes can name. `plait show NAME` prints the same.", ""]
    for kind in TABLES:
        lines += [f"## {kind}", ""]
        for name, entry in table(kind).items():
            target = load(entry.path)
            needs = f" Needs `plait[{entry.extra}]`." if entry.extra else ""
            lines += [f"### {name}", "", f"{entry.summary}{needs} `{entry.path}`", ""]
            fields = getattr(target, "model_fields", {})
            if fields:
                lines += ["| setting | default | what it is |", "|---|---|---|"]
                for field, info in fields.items():
                    default = "required" if info.is_required() else f"`{_default(info)}`"
                    description = " ".join((info.description or "").split()).replace("|", "\\|")
                    lines.append(f"| `{field}` | {default} | {description} |")
                lines.append("")
            outputs = getattr(target, "outputs", {})
            if outputs:
                shown = ", ".join(f"`{output}` ({file})" for output, file in outputs.items())
                lines += [f"Outputs: {shown}", ""]
            source = re.search(r"Source: (.+)", inspect.getdoc(target) or "")
            if source:
                lines += [f"Source: {source[1]}", ""]
    return "\n".join(lines)


def cli_page() -> str:
    """The help of every verb."""
    verbs = [
        [],
        *([v] for v in ["run", "check", "new", "schema", "watch", "resume", "diff", "rm", "ls", "show", "doctor"]),
    ]
    verbs += [["models", "ls"], ["models", "get"], ["llm", "serve"]]
    data = [
        "run",
        "explain",
        "ops",
        "why",
        "diff",
        "sample",
        "what-if",
        "analyze",
        "suggest",
        "tune",
        "sketch",
        "agree",
        "quality",
    ]
    verbs += (
        [["data", verb] for verb in data]
        + [["data", "joint", verb] for verb in ("keys", "plan", "apply")]
        + [["data", "index", verb] for verb in ("add", "find", "show")]
    )
    verbs += [["align", verb] for verb in ("train", "score", "doctor", "bench-noise", "calibrate")]
    lines = ["# Command line", ""]
    for verb in verbs:
        shown = subprocess.run(
            [sys.executable, "-m", "plait", *verb, "--help"],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"},
        ).stdout
        text = "\n".join(line.rstrip() for line in shown.replace("python -m plait", "plait").strip().splitlines())
        lines += [f"## plait {' '.join(verb)}".rstrip(), "", "```text", text, "```", ""]
    return "\n".join(lines)


def _callee(call: ast.Call) -> str:
    return ast.unparse(call.func)


def _texts(node: ast.expr) -> list[str]:
    """Every text a code argument can be."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body), *_texts(node.orelse)]
    return []


def _words(node: ast.expr) -> str:
    """A message as prose; values become an ellipsis."""
    if isinstance(node, ast.Constant):
        return str(node.value).replace("\n", " ") if node.value is not None else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_words(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _words(node.left) + _words(node.right)
    if isinstance(node, ast.IfExp):
        return f"{_words(node.body)} / {_words(node.orelse)}"
    return "…"


def _default(info: object) -> str:
    value = info.get_default(call_default_factory=True)
    shown = "none" if value is None else repr(value)
    return (shown if len(shown) <= 90 else shown[:87] + "…").replace("|", "\\|").replace("`", "'")


if __name__ == "__main__":
    sys.exit(main())
