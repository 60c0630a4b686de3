"""What the demo shows: ticks where tables and source agree, crosses where they do not."""

from __future__ import annotations

import io
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

from lakehouse.demo.answers import Answer, show

FIGURES: dict[tuple[Any, ...], tuple[Any, ...]] = {
    ("inbound", "Human"): (1200, 60.75, Decimal("0.5000")),
    (None, "[b]"): (1, None, None),
}
ANSWER = Answer("Calls", ("direction", "answered"), ("calls", "avg s", "mean"), FIGURES, FIGURES)


def shown(answer: Answer) -> str:
    console = Console(file=io.StringIO(), width=100)
    show(console, answer)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_an_answer_that_agrees_has_a_tick_on_each_line() -> None:
    assert ANSWER.agrees
    text = shown(ANSWER)
    assert (text.count("✓"), text.count("✗")) == (2, 0)
    assert text.count("1,200") == text.count("60.75") == text.count("0.5000") == 2
    assert "null" in text
    assert "[b]" in text


def test_averages_agree_to_a_millionth_and_nothing_else_does() -> None:
    key = ("inbound", "Human")
    close = replace(ANSWER, source=FIGURES | {key: (1200, 60.75 + 9e-7, Decimal("0.5"))})
    assert close.agrees
    for figures in (
        *((1201, 60.75, Decimal("0.5")), (1200, 60.76, Decimal("0.5")), (1200, 60.75, Decimal("0.5001"))),
        *((1200, None, Decimal("0.5")), (1200, 60.75, None)),
    ):
        other = replace(ANSWER, source=FIGURES | {key: figures})
        assert not other.agrees
        assert (shown(other).count("✓"), shown(other).count("✗")) == (1, 1)


@pytest.mark.parametrize("side", ["tables", "source"])
def test_a_line_that_one_side_lacks_is_a_cross(side: str) -> None:
    fewer = {key: figures for key, figures in FIGURES.items() if key[0]}
    answer = replace(ANSWER, tables=fewer) if side == "tables" else replace(ANSWER, source=fewer)
    assert not answer.agrees
    assert shown(answer).count("✗") == 1


def test_to_agree_on_nothing_is_not_to_agree_unless_it_may_be() -> None:
    assert not replace(ANSWER, tables={}, source={}).agrees
    assert replace(ANSWER, tables={}, source={}, may_be_empty=True).agrees
    assert not replace(ANSWER, source={}, may_be_empty=True).agrees
    assert not replace(ANSWER, tables={}, may_be_empty=True).agrees
