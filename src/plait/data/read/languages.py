"""Languages of files by their suffix, and suffixes of files that hold no text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_LANGUAGES: Mapping[str, str] = {
    "ada": ".adb .ads",
    "asm": ".asm .s .nasm",
    "bash": ".sh .bash .zsh .ksh",
    "batch": ".bat .cmd",
    "c": ".c .h",
    "c++": ".cc .cpp .cxx .c++ .hh .hpp .hxx .h++ .ipp",
    "c#": ".cs .csx",
    "clojure": ".clj .cljs .cljc .edn",
    "cmake": ".cmake",
    "coffeescript": ".coffee",
    "common lisp": ".lisp .lsp .cl",
    "css": ".css .scss .sass .less",
    "cuda": ".cu .cuh",
    "d": ".d",
    "dart": ".dart",
    "elixir": ".ex .exs",
    "elm": ".elm",
    "emacs lisp": ".el",
    "erlang": ".erl .hrl",
    "f#": ".fs .fsi .fsx",
    "fortran": ".f .f77 .f90 .f95 .f03 .f08 .for .fpp",
    "glsl": ".glsl .vert .frag .geom",
    "go": ".go",
    "graphql": ".graphql .gql",
    "groovy": ".groovy .gradle",
    "haskell": ".hs .lhs",
    "html": ".html .htm .xhtml",
    "ini": ".ini .cfg .conf .properties",
    "java": ".java",
    "javascript": ".js .jsx .mjs .cjs",
    "json": ".json .json5 .jsonc",
    "julia": ".jl",
    "jupyter": ".ipynb",
    "kotlin": ".kt .kts",
    "latex": ".tex .sty .cls .bib",
    "lua": ".lua",
    "makefile": ".mk .mak",
    "markdown": ".md .markdown .mdx",
    "matlab": ".m",
    "nim": ".nim",
    "nix": ".nix",
    "objective-c": ".mm",
    "ocaml": ".ml .mli",
    "pascal": ".pas .pp .dpr",
    "perl": ".pl .pm",
    "php": ".php .phtml",
    "powershell": ".ps1 .psm1 .psd1",
    "prolog": ".pro",
    "protobuf": ".proto",
    "python": ".py .pyi .pyw .pyx",
    "r": ".r .rmd",
    "restructuredtext": ".rst",
    "ruby": ".rb .rake .gemspec",
    "rust": ".rs",
    "scala": ".scala .sbt",
    "scheme": ".scm .ss .rkt",
    "solidity": ".sol",
    "sql": ".sql .ddl",
    "svelte": ".svelte",
    "swift": ".swift",
    "tcl": ".tcl",
    "terraform": ".tf .tfvars .hcl",
    "text": ".txt .text",
    "toml": ".toml",
    "typescript": ".ts .tsx .mts .cts",
    "verilog": ".v .sv .svh",
    "vhdl": ".vhd .vhdl",
    "vim": ".vim",
    "visual basic": ".vb .vbs .bas",
    "vue": ".vue",
    "xml": ".xml .xsd .xsl .svg",
    "yaml": ".yaml .yml",
    "zig": ".zig",
}
_BY_SUFFIX = {suffix: language for language, suffixes in _LANGUAGES.items() for suffix in suffixes.split()}
_BY_NAME = {"dockerfile": "dockerfile", "makefile": "makefile", "gnumakefile": "makefile", "rakefile": "ruby"}

BINARY = frozenset(
    """
    .7z .a .avi .bin .bmp .bz2 .class .db .deb .dll .dylib .eot .exe .flac .gif .gz .h5 .ico .iso .jar .jpeg .jpg .lib
    .lz4 .mkv .mo .mov .mp3 .mp4 .msi .npy .npz .o .obj .odt .ogg .onnx .otf .pack .pickle .pkl .png .pptx .ppt .pt .pth
    .pyc .pyd .pyo .rar .rpm .safetensors .so .sqlite .sqlite3 .tar .tgz .tif .tiff .ttf .war .wasm .wav .webm .webp
    .whl .woff .woff2 .xls .xlsx .xz .zip .zst .doc .parquet .arrow
    """.split()  # noqa: SIM905
)
"""Suffixes of files that hold no text, in lower case."""


def language_of(path: Path | str) -> str | None:
    """The language a file's name tells.

    Example:
        >>> language_of("a/b.py"), language_of("Makefile"), language_of("b.unknown")
        ('python', 'makefile', None)
    """
    name = Path(path).name.lower()
    return _BY_SUFFIX.get(Path(name).suffix) or _BY_NAME.get(name)
