"""Secrets and certificates: kept encrypted, given to whom names them, shown to nobody."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from flask import Flask
from sqlalchemy import text

from app import certificate_store, secret_store
from app.database import db
from tests.app.conftest import YAML, Script, enroll, make_script, refused

NAMING = """\
sources:
  made:
    type: demo_logs
    format: json
sinks:
  out:
    type: http
    inputs: [made]
    auth:
      user: &user 'SECRET[db-user]'   # who
      other: *user
      password: SECRET[password]
    tls:
      ca_file: |-
        CERT[ca]
"""
RENDERED = (
    NAMING.replace("&user 'SECRET[db-user]'", '&user "${VF_SECRET_DB_USER}"')
    .replace("SECRET[password]", '"${VF_SECRET_PASSWORD}"')
    .replace("|-\n        CERT[ca]", '"${VF_DATA_DIR:-/var/lib/vf-agent}/certs/ca.pem"')
)
AWKWARD = 'it\'s "quoted" \\ ${HOME} $1\r\n\tü😀\x7f\x85\u2028 end'


def pem(days: float = 90) -> bytes:
    """A self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days)).sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private


PEM = pem()


class Vault:
    """The secrets and certificates of one environment, through the operator API."""

    def __init__(self, script: Script, environment_id: str) -> None:
        self.script = script
        self.path = f"/environments/{environment_id}"

    def put(self, name: str, value: str) -> Any:
        return self.script.call("PUT", f"{self.path}/secrets/{name}", {"value": value})

    def put_file(self, name: str, data: bytes = PEM, filename: str = "/etc/ssl/ca.pem") -> Any:
        body = {"filename": filename, "data": base64.b64encode(data).decode()}
        return self.script.call("PUT", f"{self.path}/certificates/{name}", body)

    def fill(self) -> "Vault":
        """With all that NAMING names, and more."""
        for name, value in {"db-user": "vector", "password": AWKWARD, "unnamed": "of no pipeline"}.items():
            assert self.put(name, value).status_code == 200
        assert self.put_file("ca").status_code == 200
        return self


@pytest.fixture
def vault(script: Script, environment_id: str) -> Vault:
    return Vault(script, environment_id)


def make_pipeline(script: Script, environment_id: str, yaml: str, name: str = "naming") -> str:
    body = {"environmentId": environment_id, "name": name, "configYaml": yaml}
    return str(script.post("/pipelines", body)["id"])


def deploy(script: Script, pipeline_id: str) -> Any:
    return script.post(f"/pipelines/{pipeline_id}/deploy", {}, 200)


def entry(agent: Script) -> Any:
    """The one pipeline that the node must run."""
    (only,) = agent.get("/config")["pipelines"]
    return only


def test_a_pipeline_gets_exactly_what_it_names(script: Script, environment_id: str, vault: Vault) -> None:
    """In the forms of the contract: variables and files, and the rest of the YAML as it was written."""
    vault.fill()
    (agent,) = enroll(script, environment_id, "one")
    deploy(script, make_pipeline(script, environment_id, NAMING))
    other = YAML.replace("type: blackhole", "type: blackhole\n    key: SECRET[unnamed]")
    deploy(script, make_pipeline(script, environment_id, other, "other"))
    got, beside = sorted(agent.get("/config")["pipelines"], key=lambda each: str(each["pipelineName"]))
    assert beside["secrets"]["VF_SECRET_UNNAMED"] == "of no pipeline"
    assert len(beside["secrets"]) == 2
    assert "certFiles" not in beside
    assert got["configYaml"] == RENDERED
    assert got["secrets"].keys() == {
        "VF_SECRET_DB_USER",
        "VF_SECRET_PASSWORD",
        "VECTOR_DANGEROUSLY_ALLOW_ENV_VAR_INTERPOLATION",
    }
    # What stands between double quotes means the same in JSON and YAML, on one line, in printable characters.
    password = got["secrets"]["VF_SECRET_PASSWORD"]
    assert json.loads(f'"{password}"') == AWKWARD
    assert all(c.isprintable() for c in password)
    assert got["certFiles"] == [{"name": "ca", "filename": "ca.pem", "data": base64.b64encode(PEM).decode()}]
    assert "hold" not in got


def test_what_is_put_comes_back_to_nobody(
    app: Flask, script: Script, environment_id: str, vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in lists, versions, the audit log, pages or logs; and the database has it only encrypted."""
    vault.fill()
    vault.put("password", "hunter2-hunter2")
    pipeline_id = make_pipeline(script, environment_id, NAMING)
    deploy(script, pipeline_id)
    viewer = make_script(app, "viewer")
    paths = [
        f"{vault.path}/secrets", f"{vault.path}/certificates", "/audit", f"/pipelines/{pipeline_id}",
        f"/pipelines/{pipeline_id}/versions", "/nodes",
    ]  # fmt: skip
    seen = "".join(viewer.call("GET", path).text for path in paths) + caplog.text
    (agent,) = enroll(script, environment_id, "one")
    checksum = entry(agent)["checksum"]
    said = {"configChecksum": checksum, "failedChecksum": checksum, "failedVersion": 1}
    running = {"pipelineId": pipeline_id, "version": 1, "status": "RUNNING", **said}
    agent.post("/heartbeat", {"pipelines": [running]}, 200)
    with app.app_context():
        stored = "".join(
            str(list(db.session.execute(text(f"SELECT * FROM {table.name}"))))
            for table in db.metadata.sorted_tables
        )
        db.session.remove()
    for secret in ("hunter2", "PRIVATE KEY", PEM.splitlines()[2].decode(), checksum):
        assert secret not in seen
        assert secret not in stored
    row = viewer.get(f"{vault.path}/secrets")["items"][1]
    assert (row["name"], row["usedBy"]) == ("password", [pipeline_id])


def test_a_list_says_who_uses_what_and_what_expires(
    script: Script, environment_id: str, vault: Vault
) -> None:
    """Pages by name; a file with nothing but a key never expires."""
    vault.fill()
    key_only = PEM[PEM.index(b"-----BEGIN PRIVATE") :]
    assert vault.put_file("key", key_only, "C:\\keys\\client.key").get_json()["filename"] == "client.key"
    pipeline_id = make_pipeline(script, environment_id, NAMING)
    assert script.get(f"{vault.path}/certificates")["items"][0]["usedBy"] == []
    deploy(script, pipeline_id)
    first = script.get(f"{vault.path}/certificates", limit="1")
    assert first["items"][0]["usedBy"] == [pipeline_id]
    left = datetime.fromisoformat(first["items"][0]["expiresAt"]) - datetime.now(UTC)
    assert timedelta(days=89) < left < timedelta(days=90)
    second = script.get(f"{vault.path}/certificates", limit="1", cursor=first["nextCursor"])
    assert second["items"][0]["expiresAt"] is None
    assert second["nextCursor"] is None
    names = [row["name"] for row in script.get(f"{vault.path}/secrets")["items"]]
    assert names == ["db-user", "password", "unnamed"]


def test_a_deploy_that_names_what_does_not_exist_says_where(
    script: Script, environment_id: str, vault: Vault
) -> None:
    """With component and line; the same words as a check of the draft beforehand."""
    vault.put("db-user", "vector")
    pipeline_id = make_pipeline(script, environment_id, NAMING)
    answer = script.call("POST", f"/pipelines/{pipeline_id}/deploy", {})
    sentence = refused(answer, 400, "configYaml")
    assert 'secret "password" does not exist' in sentence
    details = answer.get_json()["details"]
    assert [(detail["component"], detail["line"]) for detail in details] == [("out", 12), ("out", 14)]
    body = {"environmentId": environment_id, "configYaml": NAMING}
    assert script.post("/pipelines/validate", body, 200)["errors"] == details
    vault.fill()
    assert script.post("/pipelines/validate", body, 200)["valid"]
    other = script.post("/environments", {"name": "other"})["id"]
    assert not script.post("/pipelines/validate", {**body, "environmentId": other}, 200)["valid"]


def test_what_a_deployed_pipeline_uses_cannot_be_removed(
    script: Script, environment_id: str, vault: Vault
) -> None:
    """Until it is undeployed; then a roll back to it is refused as a deploy is."""
    vault.fill()
    pipeline_id = make_pipeline(script, environment_id, NAMING, "billing")
    deploy(script, pipeline_id)
    paths = (f"{vault.path}/secrets/password", f"{vault.path}/certificates/ca")
    for path in paths:
        assert '"billing"' in refused(script.call("DELETE", path), 409)
    assert script.call("DELETE", f"{vault.path}/secrets/unnamed").status_code == 204
    # Only the version that nodes must run counts.
    body = {"environmentId": environment_id, "name": "billing", "configYaml": YAML}
    script.call("PUT", f"/pipelines/{pipeline_id}", body)
    deploy(script, pipeline_id)
    for path in paths:
        assert script.call("DELETE", path).status_code == 204
        refused(script.call("DELETE", path), 404)
    answer = script.call("POST", f"/pipelines/{pipeline_id}/rollback", {"version": 1})
    assert 'secret "password" does not exist' in refused(answer, 400, "configYaml")
    vault.fill()
    assert script.post(f"/pipelines/{pipeline_id}/rollback", {"version": 1}, 200)["version"] == 3


def test_a_new_value_changes_the_checksum_of_those_who_name_it_and_no_other(
    script: Script, environment_id: str, vault: Vault
) -> None:
    """And the revision of their nodes; the same value again changes nothing."""
    vault.fill()
    agent, other = enroll(script, environment_id, "one", "other")
    node = agent.token.split("_")[2] if agent.token else ""
    script.call("PATCH", f"/nodes/{node}", {"labels": {"role": "named"}})
    naming = make_pipeline(script, environment_id, NAMING)
    body = {"environmentId": environment_id, "name": "naming", "nodeSelector": "role=named"}
    script.call("PUT", f"/pipelines/{naming}", body)
    plain = make_pipeline(script, environment_id, YAML, "plain")
    deploy(script, naming)
    deploy(script, plain)

    def checksums() -> dict[str, str]:
        return {each["pipelineId"]: each["checksum"] for each in agent.get("/config")["pipelines"]}

    before, quiet = checksums(), other.get("/config")["configRevision"]
    for change in (lambda: vault.put("password", "new"), lambda: vault.put_file("ca", pem())):
        answer = change().get_json()
        assert (answer["targets"], answer["usedBy"]) == (1, [naming])
        after = checksums()
        assert after[naming] != before[naming]
        assert after[plain] == before[plain]
        assert other.get("/config")["configRevision"] == quiet
        before = after
    revision = agent.get("/config")["configRevision"]
    vault.put("password", "new")
    vault.put("unnamed", "new")
    assert agent.get("/config")["configRevision"] == revision


@pytest.mark.parametrize(
    ("name", "value", "field", "words"),
    [
        ("-a", "x", "name", "begins with a letter"),
        ("a.b", "x", "name", "letters"),
        ("a" * 101, "x", "name", "1 to 100"),
        ("a", "", "value", "empty"),
        ("a", "x" * (64 * 1024 + 1), "value", "64 KiB"),
        ("a", "\x01" * (30 * 1024), "value", "escaped"),
        ("a", "\x00", "value", "cannot be stored"),
        ("a", 7, "value", "string"),
    ],
)
def test_a_secret_that_cannot_be_used_is_refused(
    vault: Vault, name: str, value: Any, field: str, words: str
) -> None:
    """In a sentence that holds nothing of the value."""
    sentence = refused(vault.put(name, value), 400, field)
    assert words in sentence
    assert len(sentence) < 300


def test_two_secrets_never_share_a_variable(vault: Vault) -> None:
    """A child has one environment."""
    assert vault.put("db-password", "a").status_code == 200
    assert vault.put("db-password", "b").status_code == 200
    assert '"db-password"' in refused(vault.put("DB_password", "c"), 409, "name")


def test_a_certificate_that_cannot_be_used_is_refused(vault: Vault) -> None:
    """Each for its own reason."""
    damaged = PEM.replace(PEM.splitlines()[1], b"AAAA" + PEM.splitlines()[1][4:])
    assert "PEM" in refused(vault.put_file("ca", b"hello"), 400, "data")
    assert "cannot be read" in refused(vault.put_file("ca", damaged), 400, "data")
    large = PEM + b"#" * (1024 * 1024)
    assert "1024 KiB" in refused(vault.put_file("ca", large), 400, "data")
    for filename in ("", "..", "a/", 'x";y.pem', "$HOME", ".hidden", "ü.pem"):
        refused(vault.put_file("ca", PEM, filename), 400, "filename")
    answer = vault.script.call(
        "PUT", f"{vault.path}/certificates/ca", {"filename": "ca.pem", "data": "not base64!"}
    )
    assert "base64" in refused(answer, 400, "data")
    wrapped = base64.encodebytes(PEM).decode()
    answer = vault.script.call(
        "PUT", f"{vault.path}/certificates/ca", {"filename": "ca.pem", "data": wrapped}
    )
    assert answer.status_code == 200


def test_no_two_certificates_are_one_file_on_a_node(
    script: Script, environment_id: str, vault: Vault
) -> None:
    """Agents have one folder for all. A new file name reaches nodes with the next deploy, the content at once."""
    vault.fill()
    (agent,) = enroll(script, environment_id, "one")
    pipeline_id = make_pipeline(script, environment_id, NAMING)
    deploy(script, pipeline_id)
    assert '"ca"' in refused(vault.put_file("other", PEM, "ca.pem"), 409, "filename")
    replaced = pem()
    assert vault.put_file("ca", replaced, "ca-2027.pem").status_code == 200
    (file,) = entry(agent)["certFiles"]
    assert file["filename"] == "ca.pem"
    assert base64.b64decode(file["data"]) == replaced
    assert entry(agent)["configYaml"] == RENDERED
    # A deployed version still has the old name, until the next deploy.
    refused(vault.put_file("other", PEM, "ca.pem"), 409, "filename")
    deploy(script, pipeline_id)
    assert entry(agent)["certFiles"][0]["filename"] == "ca-2027.pem"
    assert vault.put_file("other", PEM, "ca.pem").status_code == 200
    answer = script.call("POST", f"/pipelines/{pipeline_id}/rollback", {"version": 1})
    assert '"other"' in refused(answer, 409, "filename")


def test_there_is_room_for_so_many(monkeypatch: pytest.MonkeyPatch, vault: Vault) -> None:
    """In number and in bytes; what is there already can be changed."""
    monkeypatch.setattr(secret_store, "MAX_SECRETS", 2)
    monkeypatch.setattr(secret_store, "MAX_BYTES_IN_ALL", 100)
    vault.put("a", "x" * 60)
    assert "100" not in refused(vault.put("b", "x" * 60), 409)
    assert vault.put("b", "x").status_code == 200
    assert "has 2" in refused(vault.put("c", "x"), 409)
    assert vault.put("a", "x" * 61).status_code == 200
    monkeypatch.setattr(certificate_store, "MAX_CERTIFICATES", 0)
    refused(vault.put_file("ca"), 409)


def test_who_may_what(app: Flask, script: Script, environment_id: str, vault: Vault) -> None:
    """A viewer reads names, an editor changes them, a token of another environment knows of nothing."""
    vault.fill()
    viewer = Vault(make_script(app, "viewer"), environment_id)
    assert len(viewer.script.get(f"{viewer.path}/secrets")["items"]) == 3
    refused(viewer.put("a", "x"), 403)
    refused(viewer.script.call("DELETE", f"{viewer.path}/secrets/unnamed"), 403)
    refused(viewer.put_file("ca"), 403)
    assert Vault(make_script(app, "editor"), environment_id).put("a", "x").status_code == 200
    other = script.post("/environments", {"name": "other"})["id"]
    stranger = Vault(make_script(app, "admin", other), environment_id)
    refused(stranger.put("a", "x"), 404)
    refused(stranger.script.call("GET", f"{stranger.path}/secrets"), 404)
    refused(stranger.script.call("DELETE", f"{stranger.path}/certificates/ca"), 404)
    refused(script.call("GET", "/environments/nowhere/secrets"), 404)
    refused(Vault(script, "nowhere").put("a", "x"), 404)


def test_an_environment_takes_its_secrets_with_it(
    app: Flask, script: Script, environment_id: str, vault: Vault
) -> None:
    """They are nobody's any more."""
    vault.fill()
    assert script.call("DELETE", vault.path).status_code == 204
    with app.app_context():
        left = [
            db.session.execute(text(f"SELECT count(*) FROM {t}")).scalar() for t in ("secret", "certificate")
        ]
        db.session.remove()
    assert left == [0, 0]


def test_the_audit_log_names_who_put_what(script: Script, vault: Vault) -> None:
    """By name."""
    vault.put("a", "first-value")
    vault.put("a", "second-value")
    vault.script.call("DELETE", f"{vault.path}/secrets/a")
    items = script.get("/audit")["items"]
    assert [each["action"] for each in items][:3] == ["secret.delete", "secret.rotate", "secret.create"]
    assert items[0]["detail"]["secret"] == "a"
    assert "value" not in json.dumps(items)
