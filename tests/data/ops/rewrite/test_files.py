from __future__ import annotations

import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest

from plait.data.batch import Batch
from plait.data.names import ROW
from plait.data.ops.llm.meta import META
from plait.data.ops.rewrite.archives import LatexMergeTexMapper
from plait.data.ops.rewrite.download import DownloadFileMapper
from plait.data.ops.rewrite.figures import figures_of
from plait.data.ops.rewrite.html import ExtractTablesFromHtmlMapper
from plait.data.ops.rewrite.latex_figures import LatexFigureContextExtractorMapper
from plait.errors import DataError, UsageError

SOURCE = r"""
Nothing here.

As \cref{fig:a, fig:b} shows.

\begin{figure*}[t]
  \includegraphics[width=2cm]{a.png}
  \caption[short]{One {nested \emph{deep}} caption}\label{fig:a} in \ref{fig:a}
\end{figure*}

Also \ref{fig:parts} and \ref{fig:ab}.

\begin{figure}
  \subfloat[left]{\includegraphics{l.pdf}\label{fig:l}}
  \begin{subfigure}{3cm}\includegraphics{r.pdf}\caption{right}\end{subfigure}
  \caption{Both}\label{fig:parts}
\end{figure}

\begin{figure}
  \begin{minipage}{1cm}\includegraphics{m.png}\caption{M}\end{minipage}
  \begin{minipage}{1cm}\includegraphics{t.png}\captionof{table}{T}\end{minipage}
\end{figure}

\begin{figure}No image.\end{figure}
"""


def test_each_figure_is_a_row_with_what_cites_it():
    batch = Batch.of(pl.DataFrame({"text": ["no figure", SOURCE], "id": [1, 2]}))
    got = LatexFigureContextExtractorMapper().apply(batch).frame
    assert got.select("id", ROW).unique().rows() == [(2, 1)]
    assert got.select("caption", "images", "label", "parent_caption", "parent_label").rows() == [
        (r"One {nested \emph{deep}} caption", ["a.png"], "fig:a", "", ""),
        ("right", ["r.pdf"], "", "Both", "fig:parts"),
        ("left", ["l.pdf"], "fig:l", "Both", "fig:parts"),
        ("M", ["m.png"], "", "", ""),
    ]
    both = r"Also \ref{fig:parts} and \ref{fig:ab}."
    assert got["citing_paragraphs"].to_list() == [[r"As \cref{fig:a, fig:b} shows."], [both], [both], []]


def test_sources_without_figures_leave_typed_columns():
    got = LatexFigureContextExtractorMapper().apply(Batch.of_texts(["a", "b"])).frame
    assert got.height == 0
    assert got.schema["images"] == pl.List(pl.String)


@pytest.mark.parametrize("part", [r"\begin{figure}", r"\label{", r"\includegraphics[", "{", r"\begin{figure}["])
def test_what_never_closes_takes_linear_time(part: str):
    assert figures_of(r"\begin{figure}" + part * 5_000) == []


def test_archives_are_read_in_their_order(tmp_path: Path):
    tar, zipped, broken = tmp_path / "a.tar.gz", tmp_path / "b.zip", tmp_path / "c.zip"
    with tarfile.open(tar, "w:gz") as archive:
        for name, text in (("b.tex", "two"), ("x.txt", "no"), ("d/a.tex", "one")):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("big.tex", "x" * 100)
        archive.writestr("small.tex", b"\xff y")
    broken.write_bytes(b"no archive")
    paths = [str(path) for path in (tar, zipped, broken, tmp_path / "d.rar")]
    batch = Batch.of(pl.DataFrame({"compressed_file": paths}))
    got = LatexMergeTexMapper(separator="|", max_file_size=50).apply(batch)
    assert got.text().to_list() == ["two|one", "\ufffd y", "", ""]
    status = got.column(f"{META}.latex_merge_tex_status").to_list()
    assert status[:2] == ["ok", "big.tex has 100 bytes"]
    assert "cannot be read" in status[2]
    assert "is no .zip" in status[3]
    short = LatexMergeTexMapper(max_total_size=3).apply(batch)
    assert short.text().to_list()[0] == "two"


def test_tables_of_pages():
    page = "<p>x<table><tr><th> N </th><th>V</th></tr><tr><td>a <b>b</b><td>1</tr></table><TABLE></TABLE>"
    batch = Batch.of_texts([page, "none"])
    got = ExtractTablesFromHtmlMapper().apply(batch)
    assert got.column(f"{META}.html_tables").to_list() == [[[["N", "V"], ["ab", "1"]]], []]
    assert ExtractTablesFromHtmlMapper(include_header=False).apply(batch).column(f"{META}.html_tables").to_list() == [
        [[["ab", "1"]]],
        [],
    ]
    raw = ExtractTablesFromHtmlMapper(retain_html_tags=True).apply(batch).column(f"{META}.html_tables").to_list()
    assert raw[0][1].lower() == "<table></table>"
    assert raw[1] == []
    assert ExtractTablesFromHtmlMapper(retain_html_tags=True).apply(got) is got


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.path.startswith(("/a/", "/b/"))
        body = self.path.encode() if found else b"no"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_files_are_fetched_into_a_field(server: str, tmp_path: Path):
    urls = [[f"{server}/a/x", f"{server}/c/x"], [], [str(tmp_path)]]
    batch = Batch.of(pl.DataFrame({"url": urls}))
    op = DownloadFileMapper(download_field="url", allow_network=True)
    got = op.apply(batch)
    assert got.column("image_bytes").to_list() == [[b"/a/x", None], [], [None]]
    status = got.column(f"{META}.download_file_status").to_list()
    assert "404" in status[0]
    assert status[1] == "ok"
    assert "allow_local" in status[2]
    with pytest.raises(DataError, match="already"):
        op.apply(got)
    again = DownloadFileMapper(download_field="url", allow_network=True, resume_download=True).apply(got)
    assert again.column("image_bytes").to_list() == got.column("image_bytes").to_list()


def test_files_are_fetched_to_disk_under_names_of_their_own(server: str, tmp_path: Path):
    batch = Batch.of(pl.DataFrame({"url": [f"{server}/a/x.png", f"{server}/b/x.png", f"{server}/a/..%2f.."]}))
    op = DownloadFileMapper(download_field="url", save_dir=str(tmp_path), allow_network=True)
    got = op.apply(batch)
    paths = got.column("url").to_list()
    assert [Path(path).read_bytes() for path in paths[:2]] == [b"/a/x.png", b"/b/x.png"]
    assert "image_bytes" not in got.frame.columns
    assert sorted(paths) == sorted(str(path) for path in tmp_path.iterdir())
    old = DownloadFileMapper(
        download_field="url", save_dir=str(tmp_path / "old"), allow_network=True, compat="data-juicer", max_concurrent=1
    )
    paths = old.apply(batch).column("url").to_list()
    assert paths[0] == paths[1] == str(tmp_path / "old" / "x.png")


def test_large_files_and_the_network_need_leave(server: str):
    with pytest.raises(UsageError) as raised:
        DownloadFileMapper(download_field="url")
    assert raised.value.code == "data.network"
    batch = Batch.of(pl.DataFrame({"url": [f"{server}/a/long"]}))
    small = DownloadFileMapper(download_field="url", allow_network=True, max_bytes=3).apply(batch)
    assert small.column("image_bytes").to_list() == [None]
    assert "more than 3 bytes" in small.column(f"{META}.download_file_status").to_list()[0]
    local = DownloadFileMapper(download_field="url", allow_local=True).apply(batch)
    assert "allow_network" in local.column(f"{META}.download_file_status").to_list()[0]
