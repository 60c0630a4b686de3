"""Charts: rows in, SVG out. Vega-Lite draws them when the report is made, so the page needs no script.

Colours are CSS variables (report.css), so that the same drawing serves light, dark and print. A drawing does
not reflow: each chart is drawn twice, and the page shows the one that fits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from xml.etree import ElementTree

from lakehouse.errors import LakehouseError

WIDE: Final = 500
NARROW: Final = 318
"""Widths of a drawing in CSS pixels."""

Row = Mapping[str, Any]
"""What a mark stands for; `told` says it in words."""

Draw = Callable[[int], dict[str, Any]]
"""Width → Vega-Lite specification."""

COLOURS: Final = {
    "inbound": "blue",
    "outbound": "teal",
    "Human": "blue",
    "Voicemail": "violet",
    "NoAnswer": "amber",
    "Unknown": "grey",
    "positive": "teal",
    "neutral": "grey",
    "mixed": "amber",
    "negative": "red",
    "critical": "red",
    "warning": "amber",
    "info": "blue",
    "no alert": "teal",
    "not reported": "grey",
    "high": "red",
    "medium": "amber",
    "low": "blue",
    "demand": "amber",
    "supply": "blue",
    "upserts": "blue",
    "deletes": "violet",
    "stale": "grey",
    "quarantined": "red",
}
"""What always has the same colour; anything else takes those that are left, in turn."""

_SPARE: Final = ("blue", "teal", "amber", "violet", "red", "grey")

_CONFIG: Final[dict[str, Any]] = {
    "view": {"stroke": None},
    "font": "Arial, sans-serif",  # for measuring alone; the page has its own
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "labelPadding": 5,
        "titlePadding": 8,
        "ticks": False,
    },
    "legend": {
        "orient": "top",
        "title": None,
        "symbolType": "square",
        "symbolSize": 90,
        "symbolStrokeWidth": 0,
        "labelColor": "var(--ink)",
        "labelFontSize": 11,
        "labelLimit": 130,
        "columnPadding": 14,
        "offset": 10,
    },
}


def colours(series: Sequence[str]) -> list[str]:
    """A colour for each, as CSS."""
    taken = {COLOURS[name] for name in series if name in COLOURS}
    spare = [c for c in _SPARE if c not in taken] or list(_SPARE)
    others = [name for name in series if name not in COLOURS]
    chosen = {name: COLOURS[name] for name in series if name in COLOURS}
    chosen |= {name: spare[i % len(spare)] for i, name in enumerate(others)}
    return [f"var(--{chosen[name]})" for name in series]


def _colour(field: str, series: Sequence[str], width: int) -> dict[str, Any]:
    longest = max(map(len, series), default=0)
    entry = min(_CONFIG["legend"]["labelLimit"], longest * 6.4) + 32
    legend = {"columns": max(1, int((width - 20) // entry)), "symbolOpacity": 1}
    return {
        "field": field,
        "type": "nominal",
        "scale": {"domain": list(series), "range": colours(series)},
        "legend": legend if len(series) > 1 else None,
    }


def _count(field: str, title: str) -> dict[str, Any]:
    short = "datum.value < 10000 ? format(datum.value, ',') : format(datum.value, '~s')"
    axis = {"title": title, "tickMinStep": 1, "labelExpr": short, "tickCount": 5, "domain": False}
    return {"field": field, "type": "quantitative", "axis": axis, "stack": "zero"}


def columns(
    rows: Sequence[Row],
    x: str,
    value: str,
    colour: str,
    *,
    across: Sequence[str],
    series: Sequence[str],
    title: str,
    counts: str | None = None,
    labelled: Sequence[str] | None = None,
) -> Draw:
    """Stacked columns.

    Args:
        across, series: the columns and what they are stacked of, in order.
        title: what the columns are.
        counts: what is counted, if `value` does not say it.
        labelled: the columns that have a label; otherwise those that have room for one.
    """

    def draw(width: int) -> dict[str, Any]:
        axis: dict[str, Any] = {"title": title, "labelAngle": 0, "labelOverlap": "parity"}
        if labelled is not None:
            axis["values"] = list(labelled)
        return _spec(
            rows,
            width,
            height=190,
            mark={"type": "bar", "stroke": "var(--surface)", "strokeWidth": 0.7},
            encoding={
                "x": {
                    "field": x,
                    "type": "ordinal",
                    "scale": {"domain": list(across), "paddingInner": 0.18, "paddingOuter": 0.1},
                    "axis": axis,
                },
                "y": _count(value, counts or value),
                "color": _colour(colour, series, width),
                "order": {"field": "order", "type": "quantitative"},
            },
            order=(colour, series),
        )

    return draw


def bars(
    rows: Sequence[Row],
    y: str,
    value: str,
    colour: str | None = None,
    *,
    down: Sequence[str],
    series: Sequence[str] = (),
) -> Draw:
    """Bars, from the top down in the order of `down`; with `colour` stacked of `series`."""

    def draw(width: int) -> dict[str, Any]:
        mark = {"type": "bar", "stroke": "var(--surface)", "strokeWidth": 0.7, "height": {"band": 0.72}}
        encoding = {"y": _names(y, down, width), "x": _count(value, value)}
        if colour is None:
            return _spec(rows, width, height=_STEP, mark=mark | {"fill": "var(--blue)"}, encoding=encoding)
        encoding["color"] = _colour(colour, series, width)
        encoding["order"] = {"field": "order", "type": "quantitative"}
        return _spec(rows, width, height=_STEP, mark=mark, encoding=encoding, order=(colour, series))

    return draw


def heatmap(rows: Sequence[Row], x: str, y: str, *, across: Sequence[str], down: Sequence[str]) -> Draw:
    """Cells shaded by `shade` (0 to 1), each with its `text` where there is room for it."""

    def draw(width: int) -> dict[str, Any]:
        room = (width - 22 - _extent(down, width)) / max(len(across), 1)
        level = max(map(len, across), default=0) * 5.2 <= room
        encoding = {
            "x": {
                "field": x,
                "type": "ordinal",
                "scale": {"domain": list(across)},
                "axis": {
                    "title": None,
                    "orient": "top",
                    "domain": False,
                    "labelFontSize": 10,
                    "labelAngle": 0 if level else -40,
                    "labelOverlap": "parity" if len(across) > 14 else False,
                },
            },
            "y": _names(y, down, width),
        }
        shade = {
            "field": "shade",
            "type": "quantitative",
            "scale": {"domain": [0, 1], "range": [0.07, 0.5]},
            "legend": None,
        }
        cell = {"type": "rect", "fill": "var(--blue)", "stroke": "var(--surface)", "strokeWidth": 1.5}
        layers: list[dict[str, Any]] = [{"mark": cell, "encoding": {"fillOpacity": shade}}]
        if room >= 19:
            words = {"type": "text", "fontSize": 11 if room >= 30 else 9.5, "fill": "var(--ink)"}
            layers.append({"mark": words, "encoding": {"text": {"field": "text", "type": "nominal"}}})
        return _spec(rows, width, height={"step": 25}, encoding=encoding, layer=layers)

    return draw


def pairs(
    rows: Sequence[Row], y: str, value: str, colour: str, *, down: Sequence[str], series: Sequence[str]
) -> Draw:
    """Two points a line, joined: how far they are apart."""

    def draw(width: int) -> dict[str, Any]:
        names = _names(y, down, width)
        x = {"field": value, "type": "quantitative", "scale": {"zero": False, "nice": True}}
        axis = {"title": "score", "tickCount": 5, "domain": False}
        point = {"type": "point", "filled": True, "size": 95, "opacity": 1}
        shapes = {"domain": list(series), "range": ["diamond", "circle"]}
        shape = {"field": colour, "type": "nominal", "legend": None, "scale": shapes}
        return _spec(
            rows,
            width,
            height=_STEP,
            layer=[
                {
                    "mark": {"type": "line", "stroke": "var(--muted)", "strokeWidth": 2},
                    "encoding": {
                        "x": x | {"axis": axis},
                        "y": names,
                        "detail": {"field": y, "type": "nominal"},
                    },
                },
                {
                    "mark": point,
                    "encoding": {
                        "x": x,
                        "y": names,
                        "color": _colour(colour, series, width),
                        "shape": shape,
                    },
                },
            ],
        )

    return draw


_STEP: Final = {"step": 27}


def _names(field: str, down: Sequence[str], width: int) -> dict[str, Any]:
    axis = {
        "title": None,
        "labelColor": "var(--ink)",
        "labelLimit": _LIMITS[width],
        "minExtent": _extent(down, width),
        "domain": False,
    }
    return {"field": field, "type": "nominal", "scale": {"domain": list(down)}, "sort": None, "axis": axis}


_LIMITS: Final = {WIDE: 150, NARROW: 92}
"""The longest label in pixels; what is longer is cut, and its figures have it whole."""


def _extent(labels: Sequence[str], width: int) -> float:
    """Room for the labels: Vega measures them in a font that may be narrower than the reader's."""
    return float(min(_LIMITS[width] * 1.12, max(map(len, labels), default=0) * 6.2) + 5)


def _spec(
    rows: Sequence[Row], width: int, *, order: tuple[str, Sequence[str]] | None = None, **parts: Any
) -> dict[str, Any]:
    values = [dict(row) for row in rows]
    if order:  # stacked in the order of the legend
        field, series = order
        places = {name: i for i, name in enumerate(series)}
        values = [row | {"order": places[row[field]]} for row in values]
    layers = parts.get("layer", [parts])
    for layer in layers:  # which words go with a mark is decided here, not guessed by Vega
        layer.setdefault("encoding", {})["description"] = {"field": "told", "type": "nominal"}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "data": {"values": values},
        "width": width,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": {"left": 2, "right": 10, "top": 2, "bottom": 2},
        "background": None,
        "config": _CONFIG,
        **parts,
    }


# --- SVG ---------------------------------------------------------------------------------------------

_SVG: Final = "{http://www.w3.org/2000/svg}"
_ELEMENTS: Final = {"svg", "g", "path", "line", "rect", "circle", "text", "tspan", "title"}
_ATTRIBUTES: Final = {
    "d", "x", "y", "x1", "x2", "y1", "y2", "dx", "dy", "r", "cx", "cy", "width", "height", "viewBox",
    "transform", "fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray",
    "stroke-linecap", "stroke-linejoin", "stroke-miterlimit", "opacity", "text-anchor", "font-size",
    "font-weight", "class", "display",
}  # fmt: skip

_MARKS: Final = {"bar", "rect mark", "point"}
"""What Vega calls the marks that stand for a figure."""


def svg(specification: Mapping[str, Any], label: str) -> str:
    """The drawing, as an element to stand in a page; `label` is what it is called to those who cannot see it.

    What Vega tells of each mark becomes its tooltip. Nothing but shapes and words is let through.

    Raises:
        LakehouseError: Vega could not draw it.
    """
    import vl_convert

    try:
        drawn = vl_convert.vegalite_to_svg(
            json.dumps(specification, allow_nan=False), vl_version="6.4", allowed_base_urls=[]
        )
    except ValueError as error:
        raise LakehouseError(f"The chart {label!r} could not be drawn: {error}") from error
    root = ElementTree.fromstring(drawn)  # noqa: S314 - by Vega, a moment ago
    _prune(root)
    root.set("role", "img")
    root.set("aria-label", label)
    ElementTree.register_namespace("", _SVG.strip("{}"))
    return ElementTree.tostring(root, encoding="unicode")


def _prune(element: ElementTree.Element) -> None:
    told = element.get("aria-label") if element.get("aria-roledescription") in _MARKS else None
    for name in set(element.attrib) - _ATTRIBUTES:
        del element.attrib[name]
    for child in list(element):
        if child.tag.removeprefix(_SVG) not in _ELEMENTS or not (
            child.get("d") or child.tag != f"{_SVG}path"
        ):
            element.remove(child)
        else:
            _prune(child)
    if told:
        title = ElementTree.SubElement(element, f"{_SVG}title")
        title.text = told
