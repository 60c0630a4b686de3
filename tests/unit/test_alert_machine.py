"""The alerts' state machine, worked out by hand, and the random histories that are played to it."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest
from tests.spark.alert_machine import (
    AS_OF_TIMES,
    HIGH_IB_CALLS,
    IMBALANCE,
    LOW_HEALTH,
    Alert,
    Machine,
    Measured,
    Round,
    Subject,
    play,
    random_histories,
    severities,
)

ANN = Subject(LOW_HEALTH, "student", "ann", "")
BOB = Subject(LOW_HEALTH, "student", "bob", "")


def machine(*evaluations: tuple[str | None, int | None, int], subject: Subject = ANN) -> Machine:
    """After evaluations, each of a severity, a cause and an as-of time; messages tell the time."""
    made = Machine()
    for severity, cause, as_of in evaluations:
        made.evaluate(subject, severity, cause, as_of, f"at {as_of}", f'{{"at": {as_of}}}')
    return made


def spans(made: Machine) -> list[tuple[int, int | None]]:
    return [(alert.opened_at, alert.closed_at) for alert in made.alerts]


def test_a_rule_that_becomes_true_opens_an_alert_at_its_cause() -> None:
    assert machine(("warning", 95, 100)).alerts == [Alert(ANN, "warning", "at 100", '{"at": 100}', 95)]


def test_where_only_time_passed_it_opens_at_the_as_of_time() -> None:
    assert spans(machine(("warning", None, 100))) == [(100, None)]


def test_a_rule_that_is_false_opens_nothing() -> None:
    assert machine((None, 95, 100), (None, None, 101)).alerts == []


def test_while_it_is_open_it_says_what_the_last_evaluation_said() -> None:
    made = machine(("warning", 95, 100), ("critical", 105, 110), ("critical", None, 120))
    assert made.alerts == [Alert(ANN, "critical", "at 120", '{"at": 120}', 95)]


def test_a_rule_that_becomes_false_closes_it_at_its_cause_and_leaves_the_rest() -> None:
    made = machine(("warning", 95, 100), (None, 105, 110))
    assert made.alerts == [Alert(ANN, "warning", "at 100", '{"at": 100}', 95, closed_at=105)]


@pytest.mark.parametrize(("cause", "closed_at"), [(None, 110), (94, 95), (95, 95), (96, 96), (110, 110)])
def test_it_closes_at_the_as_of_time_without_a_cause_and_never_before_it_opened(
    cause: int | None, closed_at: int
) -> None:
    assert spans(machine(("warning", 95, 100), (None, cause, 110))) == [(95, closed_at)]


def test_once_closed_it_stays_so_and_the_next_is_another() -> None:
    made = machine(("warning", 95, 100), (None, 105, 110), (None, 112, 115), ("critical", 118, 120))
    assert spans(made) == [(95, 105), (118, None)]


def test_an_alert_never_opens_twice_at_the_same_cause() -> None:
    made = machine(("warning", 95, 100), (None, None, 110), ("warning", 95, 120))
    assert spans(made) == [(95, 110), (120, None)]


def test_not_even_if_others_came_in_between() -> None:
    made = machine(
        ("warning", 95, 100), (None, 101, 110), ("warning", 111, 112), (None, 113, 114), ("critical", 95, 120)
    )
    assert spans(made) == [(95, 101), (111, 113), (120, None)]


def test_a_late_cause_may_open_it_before_the_last_one_closed() -> None:
    assert spans(machine(("warning", 95, 100), (None, None, 110), ("warning", 99, 120))) == [
        (95, 110),
        (99, None),
    ]


def test_the_cause_of_an_alert_that_was_opened_by_time_counts_too() -> None:
    made = machine(("warning", None, 100), (None, None, 110), ("warning", 100, 120))
    assert spans(made) == [(100, 110), (120, None)]


def test_subjects_do_not_know_of_each_other() -> None:
    made = machine(("warning", 95, 100))
    made.evaluate(BOB, "critical", 95, 100)
    made.evaluate(ANN._replace(region="north"), "info", 95, 100)
    made.evaluate(ANN._replace(alert_type=HIGH_IB_CALLS), "warning", 95, 100)
    made.evaluate(BOB, None, 95, 110)
    assert [alert.opened_at for alert in made.alerts] == [95] * 4
    assert [alert.subject for alert in made.alerts if alert.closed_at is not None] == [BOB]


def test_an_insight_of_a_file_opens_and_closes_as_any() -> None:
    made = machine(
        ("warning", 95, 100),
        (None, 105, 110),
        subject=Subject("high_priority_insight", "call", "bucket/parsedFiles/a.json", ""),
    )
    assert spans(made) == [(95, 105)]


def test_time_does_not_go_back_and_no_cause_lies_in_the_future() -> None:
    made = machine(("warning", 95, 100))
    for as_of in (99, 100):
        with pytest.raises(ValueError, match="evaluated already"):
            made.evaluate(ANN, None, None, as_of)
    with pytest.raises(ValueError, match="after 110"):
        made.evaluate(ANN, None, 111, 110)


def test_what_is_due() -> None:
    alert = machine(("warning", 95, 100)).alerts[0]
    assert alert.due
    alert.closed_at = 99
    assert alert.due  # its opening was never published
    alert.published_severity = "warning"
    assert not alert.due
    alert.severity = "critical"
    assert alert.due


# --- rules -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("calls", "severity"), [(0, None), (2, None), (3, "warning"), (4, "warning")])
def test_three_calls_are_many(calls: int, severity: str | None) -> None:
    assert severities(Measured("student", "ann", ib_calls_14d=calls))[HIGH_IB_CALLS] == severity


@pytest.mark.parametrize(
    ("score", "severity"),
    [
        (None, None),
        ("100", None),
        ("70.00", None),
        ("69.99", "warning"),
        ("50.00", "warning"),
        ("49.99", "critical"),
        ("-1", "critical"),
    ],
)
def test_low_health(score: str | None, severity: str | None) -> None:
    row = Measured("student", "ann", health_score=None if score is None else Decimal(score))
    assert severities(row)[LOW_HEALTH] == severity


@pytest.mark.parametrize(
    ("status", "severity"),
    [("high_demand", "info"), ("high_supply", None), ("HIGH_DEMAND", None), ("", None), (None, None)],
)
def test_imbalance(status: str | None, severity: str | None) -> None:
    assert severities(Measured("subject", "maths", "n", balance_status=status)) == {IMBALANCE: severity}


def test_other_rows_have_no_rules() -> None:
    assert severities(Measured("tutor", "tim", ib_calls_14d=9)) == {}
    assert severities(Measured("region", "n", "n", balance_status="high_demand")) == {}


def test_a_round_is_played_rule_by_rule() -> None:
    sick = Measured("student", "ann", "", 3, Decimal("49.50"), causes={LOW_HEALTH: 95})
    well = Measured("student", "ann", "", 2, Decimal("70.00"), causes={HIGH_IB_CALLS: 105})
    assert play([Round(100, (sick,)), Round(110, (well,))]) == [
        Alert(
            Subject(HIGH_IB_CALLS, "student", "ann", ""),
            "warning",
            "ib_calls_14d is 3",
            '{"ib_calls_14d": 3}',
            100,
            105,
        ),
        Alert(ANN, "critical", "health_score is 49.50", '{"health_score": "49.50"}', 95, 110),
    ]


# --- random histories --------------------------------------------------------------------------------

HISTORIES = [random_histories(seed, f"h{seed}") for seed in range(300)]


def test_histories_take_place_at_the_same_growing_times() -> None:
    assert list(AS_OF_TIMES) == sorted(set(AS_OF_TIMES))
    for seed, history in enumerate(HISTORIES):
        assert [played.as_of for played in history] == list(AS_OF_TIMES)
        for played in history:
            entities = [(row.entity_type, row.entity_id, row.region) for row in played.rows]
            assert len(entities) == len(set(entities))
            assert all(name.startswith(f"h{seed}-") for _, name, _ in entities)
    assert random_histories(3, "h3") == HISTORIES[3]


def test_of_each_subject_one_alert_at_most_is_open_and_no_two_opened_at_one_time() -> None:
    for history in HISTORIES:
        for rounds in range(len(history) + 1):
            alerts = play(history[:rounds])
            opened = Counter((alert.subject, alert.opened_at) for alert in alerts)
            still_open = Counter(alert.subject for alert in alerts if alert.closed_at is None)
            assert {*opened.values(), *still_open.values()} <= {1}
            assert all(alert.closed_at is None or alert.closed_at >= alert.opened_at for alert in alerts)


def test_histories_hit_what_they_are_made_for() -> None:
    hits: Counter[str] = Counter()
    for history in HISTORIES:
        before: list[Alert] = []
        for number, played in enumerate(history):
            rows = {
                Subject(alert_type, row.entity_type, row.entity_id, row.region): row.causes.get(alert_type)
                for row in played.rows
                for alert_type in severities(row)
            }
            after = play(history[: number + 1])
            for old, new in zip(before, after, strict=False):
                cause = rows.get(new.subject)
                hits["severity changed"] += old.severity != new.severity
                if old.closed_at is None and new.closed_at is not None:
                    hits["closed by time"] += cause is None
                    hits["closed late"] += cause is not None and cause < new.opened_at == new.closed_at
                    hits["closed by a cause"] += cause == new.closed_at
                hits["stayed open"] += new.closed_at is None and new.subject in rows
            for new in after[len(before) :]:
                cause = rows[new.subject]
                mine = [old for old in before if old.subject == new.subject]
                hits["opened by time"] += cause is None
                hits["opened by a cause"] += cause == new.opened_at
                hits["opened by a cause again"] += cause is not None and cause < new.opened_at
                hits["opened again before it closed"] += any(
                    old.closed_at is not None and new.opened_at < old.closed_at for old in mine
                )
            before = after
        hits["open at last"] += any(alert.closed_at is None for alert in before)
    assert len(hits) == 10
    assert {name: count for name, count in hits.items() if count < 20} == {}
