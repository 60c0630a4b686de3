"""The bundle, target by target. No workspace is asked; docs/unverified.md has what only one can tell."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.bundle.checks import GIVEN, PRINCIPAL, TARGETS, given_for, problems, steps
from tests.bundle.resolver import Bundle, BundleError, files, resolve

from lakehouse.tables import TABLES, table

TEXTS = files()


@pytest.fixture(scope="module")
def bundles() -> dict[str, Bundle]:
    return {target: resolve(TEXTS, target, given_for(target)) for target in TARGETS}


def test_nothing_is_wrong_with_the_bundle() -> None:
    assert problems(TEXTS) == []


def _pauses(bundle: Bundle) -> dict[str, str]:
    return {
        key: job[trigger]["pause_status"]
        for key, job in bundle.resources("jobs").items()
        for trigger in ("schedule", "continuous", "trigger")
        if trigger in job
    }


def test_in_dev_nothing_runs_by_itself(bundles: dict[str, Bundle]) -> None:
    pauses = _pauses(bundles["dev"])
    assert {"ingest", "ingest_available_now", "maintain"} <= set(pauses)
    assert set(pauses.values()) == {"PAUSED"}


def test_the_stream_runs_in_prod_and_the_hourly_job_in_staging(bundles: dict[str, Bundle]) -> None:
    running = {target: {k for k, v in _pauses(b).items() if v == "UNPAUSED"} for target, b in bundles.items()}
    others = {"refresh_metrics", "publish_alerts", "maintain", "reconcile"}
    assert running["prod"] == {"ingest", *others}
    assert running["staging"] == {"ingest_available_now", *others}


def test_a_developers_copy_has_names_of_its_own(bundles: dict[str, Bundle]) -> None:
    dev = bundles["dev"]
    assert dev.resources("schemas")["silver"]["name"] == "dev_ann_silver"
    assert dev.resources("jobs")["ingest"]["name"] == "[dev ann] ingest"
    [step] = [s for s in steps(dev) if s.key == "ingest"]
    assert step.option("checkpoints") == ["/Volumes/main/dev_ann_ops/checkpoints"]


def test_no_job_runs_beside_itself_in_any_target(bundles: dict[str, Bundle]) -> None:
    for bundle in bundles.values():
        assert {job["max_concurrent_runs"] for job in bundle.resources("jobs").values()} == {1}


def test_analysts_have_gold_and_the_warehouse_alone(bundles: dict[str, Bundle]) -> None:
    granted = [
        (kind, key, grant["privileges"])
        for kind in ("schemas", "volumes")
        for key, resource in bundles["prod"].resources(kind).items()
        for grant in resource.get("grants", [])
        if grant["principal"] == "analysts"
    ]
    assert granted == [("schemas", "gold", ["USE_SCHEMA", "SELECT"])]
    permitted = {
        key
        for kind in ("jobs", "sql_warehouses")
        for key, resource in bundles["prod"].resources(kind).items()
        if any(p.get("group_name") == "analysts" for p in resource["permissions"])
    }
    assert permitted == {"queries"}


def test_the_deployers_principal_is_what_jobs_run_as(bundles: dict[str, Bundle]) -> None:
    for target in ("staging", "prod"):
        root = bundles[target].config["workspace"]["root_path"]
        assert root == f"/Workspace/Users/{PRINCIPAL}/.bundle/lakehouse/{target}"


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_what_has_to_be_said_is_asked_for(name: str) -> None:
    without = {key: value for key, value in GIVEN.items() if key != name}
    with pytest.raises(BundleError, match=f"variable '{name}' has no value"):
        resolve(TEXTS, "dev", without)


@pytest.mark.parametrize("name", ["service_principal", "notify"])
def test_staging_and_prod_ask_for_more(name: str) -> None:
    for target in ("staging", "prod"):
        given = given_for(target)
        del given[name]
        with pytest.raises(BundleError, match=f"variable '{name}' has no value"):
            resolve(TEXTS, target, given)


def test_a_table_of_changes_that_is_new_is_missing_from_reconcile() -> None:
    new = replace(table("calls"), name="visits", source="visits", view=None, more_views=())
    assert any("reconcile" in p and "visits" in p for p in problems(TEXTS, (*TABLES, new)))


def test_a_source_of_documents_that_is_new_is_missing_from_every_ingest() -> None:
    new = replace(
        table("transcripts"), name="letters", source="letters", more_sources=(), view=None, more_views=()
    )
    found = problems(TEXTS, (*TABLES, new))
    for job in ("ingest.ingest", "ingest_available_now.ingest"):
        assert any(f"prod: jobs.{job}: the documents are" in p for p in found)
    assert any("no volume for ['letters']" in p for p in found)


def test_a_table_from_kinesis_or_from_known_documents_needs_no_yaml() -> None:
    new = replace(table("transcripts"), name="words", view=None, more_views=())
    assert problems(TEXTS, (*TABLES, new)) == []
