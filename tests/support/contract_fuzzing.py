"""schemathesis against a running server: what the OpenAPI document says must be true, and every check is on.

It is run as its own program, so that nothing of it is loaded into the tests.
"""

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.tokens import owner_of
from tests.support import PROJECT
from tests.support.api import AgentByHand, Operator

HOOKS = PROJECT / "tests" / "support" / "contract_formats.py"
YAML = "sources: {made: {type: demo_logs, format: json}}\nsinks: {gone: {type: blackhole, inputs: [made]}}\n"


@dataclass(frozen=True)
class Outcome:
    """What a run has come to."""

    code: int
    report: dict[str, Any]
    """Empty where it did not come so far."""
    output: str

    @property
    def operations(self) -> int:
        """How many were tested."""
        return int(self.report.get("operations", {}).get("tested", 0))

    @property
    def counts(self) -> str:
        """For people: operations, cases, failures."""
        cases = self.report.get("test_cases", {})
        return (
            f"{self.operations} operations, {cases.get('generated', 0)} cases,"
            f" {cases.get('unique_failures', 0)} failures in {self.report.get('running_time', 0):.0f} s"
        )


def known_ids(url: str, operator: Operator) -> dict[str, str]:
    """Something of every kind that an address can name, by the parameter's name."""
    environment = operator.create_environment(f"fuzzed {uuid.uuid4().hex[:8]}")["id"]
    pipeline = operator.create_pipeline(environment, "made", YAML)["id"]
    agent = AgentByHand(url)
    agent.enroll(operator.enrollment_token(environment), "fuzzed")
    deployment = operator.deploy(pipeline)["deploymentId"]
    agent.heartbeat([{"pipelineId": pipeline, "version": 1, "status": "RUNNING"}])
    restart = {"action": "restart"}
    action = operator.call("POST", f"/nodes/{agent.node_id}/actions", {**restart, "pipelineId": pipeline})
    batch = operator.call("POST", f"/environments/{environment}/actions", {**restart, "selector": ""})
    wish = {"componentKeys": ["made"], "limit": 1}
    samples = operator.call("POST", f"/pipelines/{pipeline}/samples", wish)
    hook = {
        "name": "h",
        "url": "https://hooks.example/",
        "events": ["node.back"],
        "environmentId": environment,
    }
    webhook = operator.call("POST", "/webhooks", hook)["id"]
    operator.call("PUT", f"/environments/{environment}/secrets/known", {"value": "v"})
    rule = {"name": "r", "kind": "pipeline_failed", "environmentId": environment}
    return {
        "environmentId": environment,
        "pipelineId": pipeline,
        "nodeId": agent.node_id,
        "deploymentId": deployment,
        "actionId": action["actionId"],
        "batchId": batch["batchId"],
        "requestId": samples["requestId"],
        "webhookId": webhook,
        "ruleId": operator.call("POST", "/alert-rules", rule)["id"],
        "apiTokenId": operator.call("POST", "/api-tokens", {"name": "spare", "role": "viewer"})["id"],
        "name": "known",
    }


def run(
    folder: Path, url: str, token: str, known: dict[str, str], *more: str, most_of_a_kind: int = 0
) -> Outcome:
    """Run it with an API token of its own; `more` are arguments, such as `--max-examples=20`.

    `most_of_a_kind`: see contract_formats.py.
    """
    config, report = folder / "schemathesis.toml", folder / "report.json"
    config.write_text(_config(known))
    command = [
        sys.executable,
        "-c",
        "from schemathesis.cli import schemathesis; schemathesis()",
        f"--config-file={config}",
        "run",
        f"{url}/api/v1/openapi.json",
        f"--header=Authorization: Bearer {token}",
        "--checks=all",
        "--no-color",
        "--report=json",
        f"--report-json-path={report}",
        "--generation-database=none",
        *more,
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        "SCHEMATHESIS_HOOKS": "",
        "SIGNALBOX_FUZZ_MOST_OF_A_KIND": str(most_of_a_kind),
        "SIGNALBOX_FUZZ_OWN_TOKEN": str(owner_of(token, "api")),
        "SIGNALBOX_FUZZ_SPARE_TOKEN": known["apiTokenId"],
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=3600)
    found = json.loads(report.read_text()) if report.exists() else {}
    return Outcome(done.returncode, found, done.stdout + done.stderr)


def _config(known: dict[str, str]) -> str:
    lines = [f"hooks = {json.dumps(str(HOOKS))}", "[generation]", "allow-x00 = false"]
    for name, value in known.items():
        lines += [f"[dictionaries.{name}]", f"values = [{json.dumps(value)}]"]
    lines.append("[parameters]")
    for name in known:
        lines.append(f'"path.{name}" = {{ dictionary = "{name}", probability = 0.7 }}')
    return "\n".join([*lines, EXPECTED])


EXPECTED = """
# 412 and 422 are, as 409, no answer to what was sent but to what is there: a condition that does not hold, an
# idempotency key that came with another request before.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 412, 422, 429, "5xx"]

# What is not valid may be refused for the condition that came with it, too.
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 412, 415, 422, 428, 429, "5xx"]

# 400 says here that what is *there* cannot be used so, which no schema of the request can know: the draft does not
# parse, the deployed version has no such component, the pipeline is in another environment; or, of a range of time,
# that two moments do not belong together, or one is past.
[[operations]]
include-operation-id = [
    "pipelines_deploy", "pipelines_rollback", "pipelines_update", "samples_ask", "taps_start",
    "actions_request_one", "actions_request_many", "history_metrics", "accounts_create", "accounts_update",
    "api_tokens_create",
]
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 400, 401, 403, 404, 409, 412, 422, 429, "5xx"]
"""
