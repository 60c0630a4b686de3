"""The page as HTML. Nothing here knows what the figures mean."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import partial
from importlib.resources import files

from lakehouse.report import charts
from lakehouse.report.figures import Figure, Page

_TIME = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d)?")


def html(page: Page) -> str:
    """The page as one file: no script, nothing fetched, every text from data escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def drawn(figure: Figure, width: int) -> Markup:
        assert figure.draw is not None
        return Markup(charts.svg(figure.draw(width), f"Chart: {figure.title}"))  # noqa: S704 - pruned there

    style = (files("lakehouse.report") / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        loader=PackageLoader("lakehouse.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["time"] = _TIME.fullmatch
    return environment.get_template("report.html.jinja").render(
        page=page,
        style=Markup(style),  # noqa: S704 - our own file
        digest=digest,
        wide=partial(drawn, width=charts.WIDE),
        narrow=partial(drawn, width=charts.NARROW),
    )
