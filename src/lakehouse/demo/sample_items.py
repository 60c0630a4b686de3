"""Believable sentiment items of the last nine days: texts whose sentiment a model judges, and their tags.

`sample_items` yields the changes of the DynamoDB table `sentiment-items-primary`, in the order of time,
typed for boto3's low-level client. The same arguments give the same operations, to the byte.

An item is shown for seven days from its `ingested_at`, so the items are made around the time that is passed
in, not on a fixed day: about two days' worth has expired, and none expires within `CLEAR` of it, so
that what is shown does not change while somebody looks. On purpose, because real tables are like this: items
that are analysed late, again or never; tags that change, go or come twice; an analysed item without its
score; an `ingested_at` that is no time; items that are deleted, expire, or come back.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from random import Random
from typing import Any

from lakehouse.demo.sample_day import Delete, Expire, Item, Operation, Put, Update

TABLE = "sentiment-items-primary"
SPREAD = dt.timedelta(days=9)
SHOWN_FOR = dt.timedelta(days=7)
CLEAR = dt.timedelta(hours=6)
"""Around the time at which items expire, to either side, there are none."""

# fmt: off
KINDS = {"review": "https://reviews.example.com/r/", "survey": None, "call": "s3://example-recordings/",
         "email": "mailto:"}
TEXTS = ("The unit was clean and dry.", "Nobody answered for twenty minutes!", "Gate code fails — again.",
         "Ruth was lovely, thank you ❤️", "Price went up twice this year.", "ok", "", "Überall Staub :(",
         "He said \"no fees\", then charged <b>two</b>.", "Moved out\tafter\na week")
TAGS = ("price", "cleanliness", "staff", "access", "waiting-time", "5'x10'", "Größe", "fees & charges")
SENTIMENTS = ("positive", "neutral", "negative", "mixed")
MODELS = ("sentiment-2025.08", "sentiment-2025.10")
NO_TIMES = ("unknown", "n/a", "13:45", "2025-13-45T99:00:00Z")
# fmt: on


def sample_items(newest: dt.datetime, *, seed: int = 7, items: int = 600) -> Iterator[Operation]:
    """Yield what happens to `items` items that were taken in during the nine days before `newest`.

    The same seed makes the same items at any time, but for their times. Only live keys are updated, deleted
    or expired; nothing happens after `newest`.
    """
    rng = Random(f"items/{seed}")  # noqa: S311 - believable data, not secrets
    lives = (timed for number in range(items) for timed in _life_of_an_item(rng, newest, number))
    timeline = sorted(lives, key=lambda timed: timed[0])  # stable: what is made first comes first
    yield from (operation for _, operation in timeline)


def _life_of_an_item(
    rng: Random, newest: dt.datetime, number: int
) -> Iterator[tuple[dt.datetime, Operation]]:
    """Everything that ever happens to one item, in the order of time."""
    taken_in = newest - _age(rng)
    key = {"source_id": {"S": f"src-{number // 3:05}"}, "ingested_at": {"S": _written(rng, taken_in, number)}}
    item: Item = key | _about(rng, number)
    story = _story(rng)
    span = newest - taken_in
    moments = iter(sorted(taken_in + span * rng.random() for _ in range(len(story) + 3)))

    def now(changes: Item) -> tuple[dt.datetime, Item]:
        at = next(moments)
        return at, changes | {"updated_at": {"S": _iso(at)}}

    at, first = now(story[0])
    item = item | first
    yield at, Put(TABLE, item)
    for changes in story[1:]:
        at, changed = now(changes)
        item = item | changed
        yield at, Update(TABLE, key, changed)
    fate = rng.choices(("kept", "deleted", "recreated", "expired"), (84, 5, 3, 8))[0]
    if fate != "kept":
        yield next(moments), (Expire if fate == "expired" else Delete)(TABLE, key)
    if fate == "recreated":
        at, again = now(_analyzed(rng))
        yield at, Put(TABLE, item | again)


def _age(rng: Random) -> dt.timedelta:
    """How long before the newest an item was taken in; never close to the age at which items expire."""
    age = (SPREAD - 2 * CLEAR) * rng.random()
    return age if age < SHOWN_FOR - CLEAR else age + 2 * CLEAR


def _written(rng: Random, at: dt.datetime, number: int) -> str:
    """`ingested_at`, which has to differ within a `source_id`; one in a hundred is no time at all."""
    story = rng.choices(("Z", "micro", "whole", "odd"), (80, 11, 8, 1))[0]
    if story == "odd":
        return f"{rng.choice(NO_TIMES)} {number}"
    if story == "micro":
        return at.isoformat(timespec="microseconds")  # +00:00
    return _iso(at) if story == "Z" else at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _about(rng: Random, number: int) -> Item:
    """What does not change: where the text is from, and its beginning."""
    kind = rng.choices(tuple(KINDS), (50, 25, 15, 10))[0]
    told: Item = {"source_type": {"S": kind}, "text_snippet": {"S": rng.choice(TEXTS)}}
    if url := KINDS[kind]:
        told["source_url"] = {"S": f"{url}{number}"}
    if rng.random() < 0.8:
        language, length = rng.choice(("en", "en", "de", "es")), rng.randint(2, 900)
        told["metadata"] = {"M": {"language": {"S": language}, "length": {"N": str(length)}}}
    return told


def _story(rng: Random) -> list[Item]:
    """The states of an item: first the whole, then what each update sets."""
    pending: Item = {"status": {"S": "pending"}}
    if rng.random() < 0.25:
        story = [_analyzed(rng)]
    else:
        end = rng.choices(("analyzed", "failed", "pending"), (86, 6, 8))[0]
        story = [
            pending,
            *{"analyzed": [_analyzed(rng)], "failed": [{"status": {"S": "failed"}}]}.get(end, []),
        ]
    if story[-1]["status"]["S"] != "analyzed":
        return story
    if rng.random() < 0.15:
        story.append(_tags(rng) or {"matched_tags": {"NULL": True}})
    if rng.random() < 0.06:
        story.append({"matched_tags": rng.choice(({"NULL": True}, {"L": []}))})
    if rng.random() < 0.06:
        story.append(pending)
        story.extend([_analyzed(rng)] if rng.random() < 0.5 else [])
    return story


def _analyzed(rng: Random) -> Item:
    """What the analysis says; the score or the sentiment is missing in two of a hundred."""
    judged: dict[str, Any] = {
        "status": {"S": "analyzed"},
        "sentiment": {"S": rng.choices(SENTIMENTS, (40, 25, 25, 10))[0]},
        "score": {"N": _score(rng)},
        "model_version": {"S": rng.choice(MODELS)},
    }
    missing = rng.choices((None, "sentiment", "score"), (98, 1, 1))[0]
    if missing:
        judged[missing] = {"NULL": True}
    return judged | _tags(rng)


def _score(rng: Random) -> str:
    """0 to 1: mostly two decimals; sometimes five, the last a 5; sometimes more than the column holds."""
    hundredths = f"{rng.randrange(100):02}"
    more = rng.choices(("", "005", "0000005", f"{rng.randrange(10**10):010}"), (70, 10, 10, 10))[0]
    return f"0.{hundredths}{more}"


def _tags(rng: Random) -> Item:
    """`matched_tags`: a set, or a list, which may name a tag twice; or no such attribute."""
    tags = rng.sample(TAGS, rng.choices((1, 2, 3, 5), (40, 35, 20, 5))[0])
    kind = rng.choices(("set", "list", "none"), (70, 18, 12))[0]
    if kind == "none":
        return {}
    if kind == "set":
        return {"matched_tags": {"SS": tags}}
    twice = tags[:1] if rng.random() < 0.3 else []
    return {"matched_tags": {"L": [{"S": tag} for tag in (*tags, *twice)]}}


def _iso(at: dt.datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
