"""Names of this package's components; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

ENGINES: dict[str, Entry] = {
    "local": Entry("plait.engines.local:LocalEngine", "Processes of this machine; the default."),
    "ray": Entry("plait.engines.ray:RayEngine", "Ray: started on this machine, or a cluster joined by address.", "ray"),
}
