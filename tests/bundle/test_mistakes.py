"""Single mistakes in the bundle, each of which the checks find, and for its own reason."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tests.bundle.checks import problems
from tests.bundle.resolver import MAIN, files

TEXTS = files()

SETUP, INGEST, HOURLY = "setup.job", "ingest.job", "ingest_available_now.job"
REFRESH, PUBLISH, MAINTAIN = "refresh_metrics.job", "publish_alerts.job", "maintain.job"
ROOT_PATH = "/Workspace/Users/${var.service_principal}/.bundle/${bundle.name}/${bundle.target}"
RECONCILE, REBUILD = "reconcile.job", "rebuild.job"


@dataclass(frozen=True)
class Mistake:
    """In a file, after the text `after`, `right` becomes `wrong`; what is said then has `words` in it."""

    file: str
    right: str
    wrong: str
    words: str
    after: str = ""


MISTAKES = {
    # --- files, keys, references ---
    "the resources are not included": Mistake(MAIN, "resources/*.yml", "resource/*.yml", "finds no file"),
    "one file is not included": Mistake(MAIN, "resources/*.yml", "resources/*.job.yml", "is not included"),
    "a job by the name of a volume": Mistake(MAINTAIN, "    maintain:", "    landing:", "has that key too"),
    "a key twice": Mistake(
        SETUP, "      name: setup\n", "      name: setup\n      name: set\n", "is there twice"
    ),
    "a variable that is not declared": Mistake(INGEST, "${var.catalog}", "${var.catalogue}", "'catalogue'"),
    "a variable that nothing uses": Mistake(
        MAIN,
        "  cost_center:\n",
        "  team:\n    description: x\n    default: y\n  cost_center:\n",
        "nothing uses",
    ),
    "a variable without a description": Mistake(
        MAIN, "    description: Machines of the job ingest.\n", "", "is not described"
    ),
    "a variable that asks the workspace": Mistake(
        MAIN, "    default: 2X-Small", "    lookup: {warehouse: x}", "is looked up"
    ),
    "a list as a simple variable": Mistake(
        MAIN, "default: operators", "default: [operators]", "of type complex"
    ),
    "a target's variable misspelt": Mistake(
        MAIN, "      hourly: UNPAUSED", "      hourley: UNPAUSED", "hourley"
    ),
    "a schema that is not there": Mistake(
        SETUP, "schemas.gold.name", "schemas.golden.name", "refers to nothing"
    ),
    "a field that is not there": Mistake(
        SETUP, "schemas.gold.name", "schemas.gold.title", "refers to nothing"
    ),
    "a path that is misspelt": Mistake(INGEST, "landing.volume_path", "landing.path", "refers to nothing"),
    "a reference of no kind": Mistake(INGEST, "${var.catalog}", "${variables.catalog}", "is no reference"),
    "a reference without an end": Mistake(INGEST, "${var.catalog}", "${var.catalog", "begins no reference"),
    "a variable of itself": Mistake(
        MAIN, "default: silver", "default: ${var.silver_schema}", "refers to itself"
    ),
    "an address of a workspace": Mistake(
        MAIN, "  staging:\n", "  staging:\n    # https://dbc-1234.cloud.databricks.com\n", "does not belong"
    ),
    # --- fields and values ---
    "a field misspelt": Mistake(SETUP, "timeout_seconds", "timeout_second", "timeout_second"),
    "a field of a task misspelt": Mistake(SETUP, "max_retries", "max_retry", "max_retry"),
    "a metric that is none": Mistake(
        INGEST, "STREAMING_BACKLOG_FILES", "STREAMING_BACKLOG_FILE", "BACKLOG_FILE"
    ),
    "a privilege that is none": Mistake(
        "access", "[USE_SCHEMA, SELECT]", "[USE SCHEMA, SELECT]", "USE SCHEMA"
    ),
    "a number in words": Mistake(SETUP, "timeout_seconds: 3600", "timeout_seconds: an hour", "an hour"),
    "a number as text": Mistake(
        SETUP, "timeout_seconds: 3600", 'timeout_seconds: "3600"', "'3600' is read as 3600"
    ),
    "an environment version that is a number": Mistake(
        SETUP, 'environment_version: "4"', "environment_version: 4", "environment_version"
    ),
    "an old environment": Mistake(SETUP, 'environment_version: "4"', 'environment_version: "1"', "is '1'"),
    "a status that is none": Mistake(MAIN, "stream: UNPAUSED", "stream: RUNNING", "RUNNING"),
    "a schema without a catalog": Mistake(
        "schemas", "      catalog_name: ${var.catalog}\n", "", "schemas.bronze"
    ),
    "an unknown section": Mistake(MAIN, "sync:\n", "synch:\n", "synch"),
    "a default that is no text": Mistake(
        MAINTAIN, 'default: "false"', "default: false", "is read as 'False'"
    ),
    # --- compute ---
    "an environment that is not there": Mistake(
        SETUP,
        "          environment_key: lakehouse",
        "          environment_key: lakehous",
        "there is no environment",
    ),
    "a cluster that is not there": Mistake(
        INGEST,
        "          job_cluster_key: stream",
        "          job_cluster_key: streams",
        "there is no cluster",
    ),
    "a task without compute": Mistake(
        SETUP, "          environment_key: lakehouse\n", "", "one of environment_key"
    ),
    "an environment without the wheel": Mistake(SETUP, "- ../dist/*.whl", "- boto3", "not ['dist/*.whl']"),
    "a path from the wrong folder": Mistake(SETUP, "- ../dist/*.whl", "- dist/*.whl", "not ['dist/*.whl']"),
    "a wheel that would replace Spark": Mistake(
        SETUP, "- ../dist/*.whl", "- ../dist/*.whl\n              - pyspark==4.1.4", "pyspark"
    ),
    "a cluster without the wheel": Mistake(
        INGEST, "          libraries:\n            - whl: ../dist/*.whl\n", "", "its libraries are []"
    ),
    "libraries on serverless compute": Mistake(
        SETUP,
        "          environment_key: lakehouse\n",
        "          environment_key: lakehouse\n          libraries: [{whl: ../dist/*.whl}]\n",
        "the environment has the libraries",
    ),
    "a cluster of one user": Mistake(
        INGEST, "DATA_SECURITY_MODE_STANDARD", "DATA_SECURITY_MODE_DEDICATED", "standard access mode"
    ),
    "an old runtime": Mistake(MAIN, "17.3.x-scala2.13", "15.4.x-scala2.12", "no runtime from 17.3 on"),
    "a driver that may be taken away": Mistake(
        INGEST, "first_on_demand: 1", "first_on_demand: 0", "taken away"
    ),
    "a cluster that scales": Mistake(
        INGEST, "num_workers: ${var.workers}", "autoscale: {min_workers: 1, max_workers: 4}", "fixed number"
    ),
    # --- programs and their arguments ---
    "a file that is not there": Mistake(
        SETUP, "../jobs/setup.py", "../jobs/set_up.py", "there is no jobs/set_up.py"
    ),
    "a file that is not synchronised": Mistake(MAIN, "    - jobs\n", "    - lambda\n", "is not synchronised"),
    "an option misspelt": Mistake(HOURLY, "--max-files=", "--max-file-count=", "refuses it"),
    "an option of another job": Mistake(SETUP, "--tables=", "--dry-run=", "refuses it"),
    "a required option is missing": Mistake(
        RECONCILE, "                  - --table-name={{input.dynamodb_table}}\n", "", "refuses it"
    ),
    "two words for one argument": Mistake(
        SETUP, "- --catalog=${var.catalog}", "- --catalog\n              - ${var.catalog}", "not of the form"
    ),
    "a trigger that is none": Mistake(MAIN, "default: 30 seconds", "default: 30s", "refuses it"),
    "a number that is none": Mistake(HOURLY, '"1000"', '"many"', "refuses it"),
    "a table that is none": Mistake(MAIN, '"table": "calls"', '"table": "call"', "refuses it"),
    "a flag with another value": Mistake(MAIN, 'default: "false"', 'default: "no"', "refuses it"),
    "inputs that are no JSON": Mistake(
        MAIN, '"dynamodb_table": "calls"}', '"dynamodb_table": "calls"', "no JSON"
    ),
    "a member of the inputs misspelt": Mistake(
        RECONCILE, "{{input.table}}", "{{input.tables}}", "nothing is called"
    ),
    "a parameter of the job misspelt": Mistake(
        HOURLY, "{{job.parameters.max_files}}", "{{job.parameters.files}}", "nothing is called"
    ),
    "a parameter that nothing uses": Mistake(
        HOURLY,
        "              - --wait={{job.parameters.wait}}\n",
        "              - --wait=1200\n",
        "does not use",
    ),
    "a file of jobs that no job runs": Mistake(
        MAINTAIN, "../jobs/maintain.py", "../jobs/setup.py", "no job runs"
    ),
    "AWS without a credential": Mistake(
        PUBLISH, "              - --service-credential=${var.alerts_credential}\n", "", "it calls AWS"
    ),
    "AWS without a region": Mistake(
        RECONCILE, "                  - --region=${var.aws_region}\n", "", "it calls AWS"
    ),
    "a job that thinks it is at home": Mistake(
        SETUP, "- --catalog=", "- --platform=local\n              - --catalog=", "one machine"
    ),
    # --- where things are ---
    "gold in the place of silver": Mistake(
        INGEST, "--silver=${resources.schemas.silver", "--silver=${resources.schemas.gold", "--silver is"
    ),
    "silver in the place of bronze": Mistake(
        SETUP, "--bronze=${resources.schemas.bronze", "--bronze=${resources.schemas.silver", "--bronze is"
    ),
    "no place for what came": Mistake(
        INGEST, "              - --bronze=${resources.schemas.bronze.name}\n", "", "--bronze is"
    ),
    "a schema by its bare name": Mistake(
        HOURLY,
        "${resources.schemas.silver.name}",
        "silver",
        "dev: jobs.ingest_available_now.ingest: --silver",
    ),
    "checkpoints among what landed": Mistake(
        INGEST,
        "${resources.volumes.checkpoints.volume_path}",
        "${resources.volumes.landing.volume_path}",
        "--checkpoints",
    ),
    "checkpoints in a bucket": Mistake(
        HOURLY, "${resources.volumes.checkpoints.volume_path}", "s3://bucket/checkpoints", "--checkpoints"
    ),
    "a catalog of its own": Mistake(REFRESH, "--catalog=${var.catalog}", "--catalog=prod", "--catalog is"),
    "repairs through the volume": Mistake(
        RECONCILE, "${var.landing_location}", "${resources.volumes.landing.volume_path}", "--landing is"
    ),
    "no transcripts": Mistake(
        INGEST,
        "              - --documents=transcripts=${resources.volumes.transcripts.volume_path}\n",
        "",
        "the documents are",
    ),
    "a source of documents misspelt": Mistake(HOURLY, "pca_calls=", "pca=", "the documents are"),
    "one ingest lists, the other does not": Mistake(
        INGEST, "--no-file-events=${var.no_file_events}", "--no-file-events=true", "not as the variable says"
    ),
    # --- one checkpoint, one holder ---
    "runs beside each other": Mistake(INGEST, "max_concurrent_runs: 1", "max_concurrent_runs: 2", "be 1"),
    "four runs in development": Mistake(HOURLY, "      max_concurrent_runs: 1\n", "", "must be said"),
    "an interval on serverless compute": Mistake(
        HOURLY, "--trigger=available-now", "--trigger=30 seconds", "no trigger but available-now"
    ),
    "a cluster for a stream that ends": Mistake(
        INGEST, "--trigger=${var.stream_interval}", "--trigger=available-now", "ends at once"
    ),
    "gives up before a dead holder's lease ends": Mistake(
        HOURLY, 'default: "1200"', 'default: "600"', "must outlast"
    ),
    "does not wait": Mistake(INGEST, "--wait=1200", "--wait=0", "must outlast"),
    "fails while the stream is at work": Mistake(
        HOURLY, 'default: "true"', 'default: "false"', "--leave-held"
    ),
    "a backfill that is skipped": Mistake(HOURLY, "enabled: true", "enabled: false", "would be skipped"),
    "some tables alone": Mistake(
        INGEST,
        "              - --wait=1200",
        "              - --tables=calls\n              - --wait=1200",
        "of all tables",
    ),
    "a table that is not compared": Mistake(
        MAIN, '      {"table": "scorecards", "dynamodb_table": "scorecards"},\n', "", "compares"
    ),
    # --- how jobs run ---
    "a stream with a time-out": Mistake(
        INGEST,
        "      max_concurrent_runs: 1\n",
        "      max_concurrent_runs: 1\n      timeout_seconds: 3600\n",
        "no time-out",
    ),
    "a stream with retries": Mistake(
        INGEST,
        "        - task_key: ingest\n",
        "        - task_key: ingest\n          max_retries: 3\n",
        "no retry policy",
    ),
    "a stream that is not started again": Mistake(
        INGEST, "        task_retry_mode: ON_FAILURE\n", "", "task_retry_mode is not said"
    ),
    "a stream whose lag nobody measures": Mistake(
        INGEST, "STREAMING_BACKLOG_FILES", "RUN_DURATION_SECONDS", "tells that it lags"
    ),
    "a lag that nobody is told": Mistake(
        INGEST,
        "        on_streaming_backlog_exceeded:\n          - ${var.notify}\n",
        "",
        "on_streaming_backlog_exceeded",
    ),
    "a failure that nobody is told": Mistake(
        PUBLISH, "        on_failure:\n          - ${var.notify}\n", "", "on_failure"
    ),
    "a slow run that nobody is told": Mistake(
        MAINTAIN,
        "        on_duration_warning_threshold_exceeded:\n          - ${var.notify}\n",
        "",
        "on_duration_warning_threshold_exceeded",
    ),
    "somebody else is told": Mistake(
        SETUP,
        "        on_failure:\n          - ${var.notify}",
        "        on_failure:\n          - me@example.com",
        "on_failure",
    ),
    "no time-out": Mistake(REFRESH, "      timeout_seconds: 3600\n", "", "it has no time-out"),
    "a warning after the end": Mistake(REFRESH, "value: 1800", "value: 7200", "before its time is out"),
    "retries that are not said": Mistake(SETUP, "          max_retries: 0\n", "", "max_retries is not said"),
    "retries of a loop": Mistake(
        RECONCILE,
        "          max_retries: 0 # those",
        "          max_retries: 1 # those",
        "within for_each_task",
    ),
    "a scan that is tried again": Mistake(
        RECONCILE, "disable_auto_optimization: true", "disable_auto_optimization: false", "tried again"
    ),
    "a queue that is not said": Mistake(
        MAINTAIN, "      queue:\n        enabled: true\n", "", "queue is not said"
    ),
    "two triggers": Mistake(
        INGEST,
        "      max_concurrent_runs: 1\n",
        "      max_concurrent_runs: 1\n      trigger: {periodic: {interval: 1, unit: HOURS}}\n",
        "exclude each other",
    ),
    "a cron of five fields": Mistake(MAINTAIN, '"0 30 3 * * ?"', '"30 3 * * *"', "no Quartz expression"),
    "a day and a weekday": Mistake(MAINTAIN, '"0 30 3 * * ?"', '"0 30 3 1 * MON"', "has to be ?"),
    "a local time": Mistake(MAINTAIN, "timezone_id: UTC", "timezone_id: Europe/Berlin", "not UTC"),
    "a rebuild by the clock": Mistake(
        REBUILD,
        "      max_concurrent_runs: 1\n",
        "      max_concurrent_runs: 1\n"
        '      schedule: {quartz_cron_expression: "0 0 0 * * ?", timezone_id: UTC}\n',
        "for people to start",
    ),
    "a cost without a name": Mistake(MAIN, "    cost_center: ${var.cost_center}\n", "", "cost_center"),
    # --- targets ---
    "a developer's stream at work": Mistake(
        MAIN,
        'service_principal: ""',
        'stream: UNPAUSED\n      service_principal: ""',
        "would run by themselves",
    ),
    "a schedule that development does not pause": Mistake(
        MAINTAIN,
        "        timezone_id: UTC\n",
        "        timezone_id: UTC\n        pause_status: UNPAUSED\n",
        "would run by themselves",
    ),
    "dev is not development": Mistake(
        MAIN, "    mode: development", "    mode: production", "not in development mode"
    ),
    "prod is not production": Mistake(
        MAIN, "    mode: production", "    mode: development", "not in production mode", "  prod:"
    ),
    "a mode misspelt": Mistake(
        MAIN, "    mode: production", "    mode: prod", "not in production mode", "  prod:"
    ),
    "prod without a root path": Mistake(
        MAIN,
        f"      root_path: {ROOT_PATH}\n",
        "",
        "root_path",
        "  prod:",
    ),
    "a root path for each who deploys": Mistake(
        MAIN,
        "Users/${var.service_principal}/",
        "Users/${workspace.current_user.userName}/",
        "one deployment",
        "  prod:",
    ),
    "one root path for two targets": Mistake(
        MAIN, "/${bundle.target}", "/prod", "one root_path", "  staging:"
    ),
    "prod runs as whoever deploys": Mistake(
        MAIN,
        "    run_as:\n      service_principal_name: ${var.service_principal}\n",
        "",
        "runs as None",
        "  prod:",
    ),
    "prod runs as somebody": Mistake(
        MAIN,
        "      service_principal_name: ${var.service_principal}",
        "      user_name: me@example.com",
        "runs as",
        "  prod:",
    ),
    "prod from any branch": Mistake(MAIN, "    git:\n      branch: main\n", "", "any branch"),
    "no ingest at work in prod": Mistake(MAIN, "stream: UNPAUSED", "stream: PAUSED", "one has to be at work"),
    "two ingests at work in prod": Mistake(
        MAIN,
        "      stream: UNPAUSED",
        "      stream: UNPAUSED\n      hourly: UNPAUSED",
        "one has to be at work",
    ),
    "a schedule that is off in prod": Mistake(
        MAINTAIN,
        "        timezone_id: UTC\n",
        "        timezone_id: UTC\n        pause_status: PAUSED\n",
        "do not run",
    ),
    "Terraform": Mistake(MAIN, "engine: direct", "engine: terraform", "engine"),
    # --- storage ---
    "checkpoints that may be destroyed": Mistake(
        "volumes",
        "        prevent_destroy: true",
        "        prevent_destroy: false",
        "checkpoints: prevent_destroy",
    ),
    "a schema that may be destroyed": Mistake(
        "schemas", "      lifecycle:\n        prevent_destroy: true\n", "", "bronze: prevent_destroy is None"
    ),
    "no schema for what came": Mistake("schemas", "    bronze:\n", "    brass:\n", "which nothing defines"),
    "checkpoints in a bucket of ours": Mistake(
        "volumes",
        "volume_type: MANAGED",
        "volume_type: EXTERNAL\n      storage_location: s3://b/c",
        "is EXTERNAL",
    ),
    "a landing volume without its bucket": Mistake(
        "volumes", "      storage_location: ${var.landing_location}\n", "", "landing: its location is None"
    ),
    "landing in the platform's storage": Mistake("volumes", "EXTERNAL", "MANAGED", "landing is MANAGED"),
    "two volumes in one place": Mistake(
        "volumes", "${var.pca_location}", "${var.landing_location}/pca", "lies in"
    ),
    "a volume before its schema": Mistake(
        "volumes", "${resources.schemas.ops.name}", "${var.ops_schema}", "comes first"
    ),
    "a volume in another catalog": Mistake(
        "volumes", "catalog_name: ${var.catalog}", "catalog_name: hub", "another catalog"
    ),
    "a volume that is missing": Mistake(
        "access", "        pca_calls:\n", "        pca:\n", "which nothing defines"
    ),
    "two schemas of one name": Mistake(MAIN, "default: gold", "default: silver", "two schemas have one name"),
    # --- the warehouse ---
    "a warehouse for two hours": Mistake(
        "warehouse", "auto_stop_mins: 10 ", "auto_stop_mins: 120 ", "120 minutes"
    ),
    "a warehouse by default": Mistake(
        "warehouse",
        "      auto_stop_mins: 10 # the least there is; a bundle's own default is 120\n",
        "",
        "120 minutes",
    ),
    "a warehouse that never stops": Mistake(
        "warehouse", "auto_stop_mins: 10 ", "auto_stop_mins: 0 ", "0 minutes"
    ),
    "a large warehouse": Mistake(MAIN, "default: 2X-Small", "default: 4X-Large", "4X-Large"),
    "a classic warehouse": Mistake("warehouse", "PRO", "CLASSIC", "PRO"),
    "fewer clusters than the least": Mistake(
        "warehouse", "max_num_clusters: 1", "max_num_clusters: 0", "less than"
    ),
    # --- access ---
    "analysts read bronze": Mistake(
        "access",
        "              privileges: &read [USE_SCHEMA, SELECT]\n",
        "              privileges: &read [USE_SCHEMA, SELECT]\n"
        "            - principal: ${var.analysts}\n              privileges: [SELECT]\n",
        "schemas.bronze grants",
    ),
    "analysts read silver": Mistake(
        "access",
        "              privileges: *read\n        gold:",
        "              privileges: *read\n"
        "            - principal: ${var.analysts}\n              privileges: *read\n        gold:",
        "schemas.silver grants",
    ),
    "analysts write": Mistake(
        "access", "privileges: *read\n        ops:", "privileges: *work\n        ops:", "schemas.gold grants"
    ),
    "analysts read nothing": Mistake(
        "access",
        "            - principal: ${var.analysts}\n              privileges: *read\n",
        "",
        "schemas.gold grants",
    ),
    "a grant to nobody": Mistake(
        "access",
        "- principal: ${var.analysts}\n              privileges",
        "- privileges",
        "without a principal",
    ),
    "a grant of nothing": Mistake(
        "access", "&read [USE_SCHEMA, SELECT]", "&read []", "without a principal or a"
    ),
    "the jobs cannot write checkpoints": Mistake(
        "access", "[READ_VOLUME, WRITE_VOLUME]", "[READ_VOLUME]", "volumes.checkpoints grants"
    ),
    "the jobs may do everything": Mistake(
        "access",
        "&work [USE_SCHEMA, SELECT, MODIFY, CREATE_TABLE]",
        "&work [ALL_PRIVILEGES]",
        "schemas.silver grants",
    ),
    "operators may change jobs": Mistake("access", "level: CAN_RUN", "level: CAN_MANAGE", "both say"),
    "a level that is none": Mistake(
        "access", "level: CAN_RUN", "level: CAN_MANAGE_RUN", "no level of a bundle"
    ),
    "the principal is taken for a group": Mistake(
        "access", "service_principal_name:", "group_name:", "permits"
    ),
    "analysts cannot use the warehouse": Mistake("access", "level: CAN_USE", "level: CAN_VIEW", "permits"),
    "grants in dev": Mistake(
        "access", "  prod:\n", "  dev:\n", "dev: schemas.bronze: a grant without a principal"
    ),
    "analysts cannot open the dashboard": Mistake(
        "access",
        "            - level: CAN_RUN\n              group_name: ${var.analysts}\n",
        "",
        "dashboards.contact_centre permits",
    ),
    # --- dashboard, alerts, notebooks ---
    "a dashboard by its owner's rights": Mistake(
        "dashboard", "embed_credentials: false", "embed_credentials: true", "embed_credentials would show"
    ),
    "a dashboard that is not there": Mistake(
        "dashboard", "./lakehouse.lvdash.json", "./contact.lvdash.json", "there is no dashboard"
    ),
    "a dashboard in another schema": Mistake(
        "dashboard", "schemas.gold.name", "schemas.silver.name", "dataset_schema"
    ),
    "a dashboard without a catalog": Mistake(
        "dashboard", "      dataset_catalog: ${var.catalog}\n", "", "dataset_catalog"
    ),
    "a dashboard on another warehouse": Mistake(
        "dashboard", "${resources.sql_warehouses.queries.id}", "0123456789abcdef", "no warehouse of ours"
    ),
    "an alert that asks in dev": Mistake(
        "alerts", "        pause_status: ${var.sql_alerts}", "        pause_status: UNPAUSED", "dev: alerts."
    ),
    "an alert that sleeps in prod": Mistake(
        MAIN, "      sql_alerts: UNPAUSED", "      sql_alerts: PAUSED", "is PAUSED", "  prod:\n"
    ),
    "an alert of nothing": Mistake(
        "alerts", "empty_result_state: OK", "empty_result_state: UNKNOWN", "be OK"
    ),
    "an alert on a column that is not there": Mistake(
        "alerts", "name: of_the_limit", "name: limit", "gives no 'limit'"
    ),
    "an alert whose mail is a number": Mistake(
        "alerts",
        "          name: of_the_limit\n",
        "          name: of_the_limit\n          aggregation: MAX\n",
        "one number",
    ),
    "an alert on any row": Mistake(
        "alerts", "ORDER BY of_the_limit DESC", "ORDER BY stream", "which decides, is not the worst"
    ),
    "an alert on the least": Mistake(
        "alerts", "ORDER BY of_the_limit DESC", "ORDER BY of_the_limit", "which decides, is not the worst"
    ),
    "an alert that mails a record": Mistake(
        "alerts", "max_by(error, failed_at) AS error", "max_by(message, failed_at) AS error", "in a mail"
    ),
    "an alert that mails all columns": Mistake(
        "alerts", "SELECT source, records, newest", "SELECT *, records", "in a mail"
    ),
    "an alert on quarantine itself": Mistake(
        "alerts",
        "`${resources.schemas.ops.name}`.failures",
        "`${resources.schemas.ops.name}`.quarantine",
        "among",
    ),
    "an alert that ends with a semicolon": Mistake(
        "alerts", "ORDER BY of_the_limit DESC", "ORDER BY of_the_limit DESC;", "semicolon"
    ),
    "an alert that is told once": Mistake(
        "alerts", "          retrigger_seconds: 86400\n", "", "told once, or all the time"
    ),
    "an alert without its rows": Mistake("alerts", "{{QUERY_RESULT_TABLE}}", "See there.", "no rows"),
    "an alert of one user": Mistake(
        "alerts",
        "      display_name: lakehouse-freshness\n",
        "      display_name: lakehouse-freshness\n      run_as_user_name: ann@example.com\n",
        "says run_as_user_name",
    ),
    "silence without a number": Mistake(MAIN, 'default: "1440"', 'default: "a day"', "no number"),
    "everybody sees personal data": Mistake(
        MAIN, "default: lakehouse_pii_readers", "default: analysts", "every analyst would see"
    ),
    "personal data for whoever is named last": Mistake(
        "setup.job",
        "              - --pii-readers=${var.pii_readers}\n",
        "              - --pii-readers=${var.pii_readers}\n              - --pii-readers=account users\n",
        "is there twice",
    ),
    "grants to everybody": Mistake(
        "setup.job",
        "              - --pii-readers=${var.pii_readers}\n",
        "              - --pii-readers=${var.pii_readers}\n              - --analysts=account users\n",
        "not for a bundle",
    ),
    "files that are left behind": Mistake(MAIN, "  paths:\n", "  exclude: [jobs/*]\n  paths:\n", "'exclude'"),
    "a task that is switched off": Mistake(
        "maintain.job",
        "          max_retries: 1\n",
        "          max_retries: 1\n          disabled: true\n",
        "disabled:",
    ),
    "a repair that nobody asked for": Mistake(
        "reconcile.job", 'default: "false" # land', 'default: "true" # land', "nobody has said that repair"
    ),
    "a job of one table": Mistake(
        "maintain.job",
        '        - name: tables\n          default: ""',
        "        - name: tables\n          default: calls",
        "leaves out every table",
    ),
    "another ANSI": Mistake(
        "ingest.job",
        "            runtime_engine: PHOTON\n",
        '            runtime_engine: PHOTON\n            spark_conf: {spark.sql.ansi.enabled: "false"}\n',
        "spark_conf",
    ),
    "an hour that there is not": Mistake(
        "maintain.job", "0 30 3 * * ?", "0 30 99 * * ?", "no Quartz expression"
    ),
    "an alert without a threshold": Mistake("alerts", "double_value: 1.0", "string_value: a", "no threshold"),
    "an alert of text": Mistake("alerts", "double_value: 1.0", "double_value: much", "could not convert"),
    "an alert that compares with no word": Mistake(
        "alerts", "comparison_operator: GREATER_THAN", "comparison_operator: MORE_THAN", "MORE_THAN"
    ),
    "an alert that tells nobody": Mistake(
        "alerts",
        "            - user_email: ${var.notify}",
        "            - destination_id: x",
        "nobody is told",
    ),
    "an alert with a schedule of jobs": Mistake(
        "alerts", "quartz_cron_schedule", "quartz_cron_expression", "quartz_cron"
    ),
    "an alert every second": Mistake("alerts", '"0 15 * * * ?"', '"* 15 * * * ?"', "no Quartz expression"),
    "an alert of two statements": Mistake(
        "alerts", "ORDER BY of_the_limit DESC", "ORDER BY of_the_limit DESC; SELECT 1", "no single query"
    ),
    "an alert that is misspelt": Mistake("alerts", "GROUP BY split_part", "GROUP split_part", ": Expecting"),
    "an alert on a book that is not there": Mistake(
        "alerts", "name}`.batches\n", "name}`.batch\n", "among the books"
    ),
    "an alert on a book of another schema": Mistake(
        "alerts",
        "`${resources.schemas.ops.name}`.failures",
        "`${resources.schemas.gold.name}`.failures",
        "among the books",
    ),
    "an alert too few": Mistake("alerts", "    tombstone_floor:\n", "    tombstones:\n", "the alerts are"),
    "Parquet that nobody reads": Mistake(
        "ingest.job",
        "              - --parquet=${var.parquet}\n",
        "",
        "--parquet is not as the variable says",
    ),
    "notebooks that stay behind": Mistake(MAIN, "    - notebooks\n", "", "notebooks stay behind"),
    "readers of personal data that nothing uses": Mistake(
        "setup.job",
        "              - --pii-readers=${var.pii_readers}\n",
        "",
        "nothing uses the variable 'pii_readers'",
    ),
    # --- the wheel ---
    "another build": Mistake(
        MAIN, "build: uv build --wheel", "build: python setup.py bdist_wheel", "no wheel"
    ),
    "a wheel that is not installed again": Mistake(MAIN, "    dynamic_version: true\n", "", "older wheel"),
    "a wheel that runs in progress lose": Mistake(
        MAIN, "skip_artifact_cleanup: true", "skip_artifact_cleanup: false", "still need"
    ),
    "a wheel of the writer": Mistake(
        MAIN, "    type: whl\n", "    type: whl\n    path: lambda\n", "pyproject.toml"
    ),
    "a jar": Mistake(MAIN, "    type: whl\n", "    type: jar\n", "no wheel"),
}


def _made(mistake: Mistake) -> dict[str, str]:
    path = mistake.file if mistake.file == MAIN else f"resources/{mistake.file}.yml"
    before, after, rest = TEXTS[path].partition(mistake.after) if mistake.after else ("", "", TEXTS[path])
    assert mistake.right in rest, f"{path} has no {mistake.right!r}"
    return TEXTS | {path: before + after + rest.replace(mistake.right, mistake.wrong, 1)}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found(mistake: Mistake) -> None:
    found = problems(_made(mistake))
    assert any(mistake.words in problem for problem in found), found


def test_there_are_mistakes_enough_in_every_file() -> None:
    assert len(MISTAKES) >= 40
    files_ = {MAIN if m.file == MAIN else f"resources/{m.file}.yml" for m in MISTAKES.values()}
    assert files_ >= {path for path in TEXTS if path.endswith((".job.yml", MAIN))}
