"""Metrics as a page for Prometheus: its text format, version 0.0.4, from what the SDK has collected.

Names and units follow OpenTelemetry's rules for Prometheus: dots become underscores, seconds are said in the name,
units in braces are not, and counters end in ``_total``. Why this is ours: docs/decisions/0014.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.sdk.metrics.export import Histogram, Metric, MetricsData, Sum

__all__ = ["CONTENT_TYPE", "exposition", "prometheus_name"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_NOT_NAME = re.compile(r"[^a-zA-Z0-9_]")
_UNITS = {"s": "_seconds", "By": "_bytes"}


def exposition(data: MetricsData | None) -> str:
    """The page; it ends with a line feed. Nothing measured yet: an empty one."""
    lines: list[str] = []
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                lines += _family(metric)
    return "".join(f"{line}\n" for line in lines)


def prometheus_name(name: str, unit: str, *, counter: bool) -> str:
    """What an instrument is called in Prometheus."""
    return _NOT_NAME.sub("_", name) + _UNITS.get(unit, "") + ("_total" if counter else "")


def _family(metric: Metric) -> Iterator[str]:
    counter = isinstance(metric.data, Sum) and metric.data.is_monotonic
    kind = "counter" if counter else "histogram" if isinstance(metric.data, Histogram) else "gauge"
    name = prometheus_name(metric.name, metric.unit or "", counter=counter)
    about = (metric.description or "").replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    for point in metric.data.data_points:
        labels = dict(point.attributes or {})
        if isinstance(metric.data, Histogram):
            yield from _buckets(name, labels, point)
        else:
            yield f"{name}{_labels(labels)} {_number(point.value)}"  # type: ignore[union-attr]  # no histogram's


def _buckets(name: str, labels: Mapping[str, Any], point: Any) -> Iterator[str]:
    total = 0
    for bound, count in zip([*map(_number, point.explicit_bounds), "+Inf"], point.bucket_counts, strict=True):
        total += count
        yield f"{name}_bucket{_labels({**labels, 'le': bound})} {total}"
    yield f"{name}_sum{_labels(labels)} {_number(point.sum)}"
    yield f"{name}_count{_labels(labels)} {total}"


def _labels(labels: Mapping[str, Any]) -> str:
    if not labels:
        return ""
    return (
        "{" + ",".join(f'{_NOT_NAME.sub("_", name)}="{_escaped(str(value))}"' for name, value in labels.items()) + "}"
    )


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value)) if value != int(value) else str(int(value))
