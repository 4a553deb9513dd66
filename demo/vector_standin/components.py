"""The table of everything that can stand in a configuration."""

from .component import Component
from .file_source import FileSource
from .sinks import Blackhole, Console, FileSink, PrometheusExporter
from .sources import DemoLogs, HostMetrics, InternalMetrics, Stdin
from .transforms import Filter, Remap, Sample

COMPONENTS: dict[str, dict[str, type[Component]]] = {
    "source": {each.type: each for each in (DemoLogs, FileSource, HostMetrics, InternalMetrics, Stdin)},
    "transform": {each.type: each for each in (Filter, Remap, Sample)},
    "sink": {each.type: each for each in (Blackhole, Console, FileSink, PrometheusExporter)},
}
