"""The audit log as a chain: what was changed by hand is found, on each kind of database."""

import json
import logging
from collections.abc import Callable
from threading import Thread

import pytest
from flask import Flask
from sqlalchemy import delete, text, update
from sqlalchemy.exc import DBAPIError

from app import audit, audit_chain
from app.audit import COMMAND_LINE
from app.database import db, transaction
from app.models import AuditEntry, AuditHead
from tests.app.conftest import Script


@pytest.fixture
def entries(script: Script) -> list[dict[str, object]]:
    """Some entries, oldest first, with umlauts, floats and nested details."""
    for number in range(4):
        script.post("/environments", {"name": f"größe {number}"})

    def work(session: object) -> None:
        audit.record(
            session, COMMAND_LINE, "test.detail", ratio=0.1, nested={"b": [1, None, True], "a": "\u2028"}
        )  # type: ignore[arg-type]
        audit.record(session, COMMAND_LINE, "test.second")  # type: ignore[arg-type]

    with script.client.application.app_context():
        transaction(work)
    return list(reversed(script.get("/audit")["items"]))


def run(app: Flask, *arguments: str, given: str | None = None) -> tuple[int, str, str]:
    result = app.test_cli_runner().invoke(args=["audit", *arguments], input=given)
    return result.exit_code, result.stdout, result.stderr


def by_hand(app: Flask, *statements: object) -> None:
    """As somebody does who may do everything in the database."""
    with app.app_context(), db.engine.begin() as connection:
        is_postgres = connection.dialect.name == "postgresql"
        for name in ("update", "delete"):
            connection.execute(
                text(f"DROP TRIGGER audit_entry_no_{name}" + (" ON audit_entry" if is_postgres else ""))
            )
        for statement in statements:
            connection.execute(statement)  # type: ignore[call-overload]


def test_every_entry_is_a_link_and_the_chain_holds(
    app: Flask, entries: list[dict[str, object]], caplog: pytest.LogCaptureFixture
) -> None:
    """Numbered from 1 without a gap, two of one transaction too; an export verifies without the database."""
    assert [entry["sequence"] for entry in entries] == list(range(1, len(entries) + 1))
    code, said, _ = run(app, "verify")
    head = f"{len(entries)}:{entries[-1]['hash']}"
    assert (code, said) == (0, f"All {len(entries)} entries hold. The newest link is {head}\n")
    assert run(app, "verify", "--head", head)[0] == 0
    code, exported, _ = run(app, "export")
    assert code == 0
    assert [json.loads(line)["hash"] for line in exported.splitlines()] == [e["hash"] for e in entries]
    assert run(app, "verify", "--file", "-", "--head", head, given=exported)[:2] == (0, said)
    assert run(app, "export", "--after", str(len(entries) - 1))[1] == exported.splitlines(True)[-1]
    spoiled = exported.replace("\\u00dfe 2", "\\u00dfe 7")
    assert "Entry " in run(app, "verify", "--file", "-", given=spoiled)[2]
    assert "Line 1 cannot be read" in run(app, "verify", "--file", "-", given="{}\n")[2]
    assert run(app, "verify", "--head", "5")[0] == 2


def test_each_link_is_logged_once_it_is_committed(
    app: Flask, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    """So that a log kept elsewhere is the witness; what was rolled back leaves no line and no gap."""

    def fails(session: object) -> None:
        audit.record(session, COMMAND_LINE, "test.never")  # type: ignore[arg-type]
        raise ValueError("no")

    with caplog.at_level(logging.INFO, "signalbox.audit"):
        with app.app_context(), pytest.raises(ValueError):
            transaction(fails)
        script.post("/environments", {"name": "kept"})
    (entry,) = script.get("/audit", action="environment.create")["items"]
    links = [record.getMessage() for record in caplog.records if record.name == "signalbox.audit"]
    assert links == [
        f"audit entry sequence={entry['sequence']} hash={entry['hash']} action=environment.create"
    ]
    assert run(app, "verify")[0] == 0


def test_the_databases_themselves_refuse_to_change_or_delete_an_entry(
    app: Flask, entries: list[dict[str, object]]
) -> None:
    """The last migration leaves the triggers in place, and nothing is changed by an attempt."""
    with app.app_context():
        for statement in (update(AuditEntry).values(actor="nobody"), delete(AuditEntry)):
            with pytest.raises(DBAPIError, match="append-only"), db.engine.begin() as connection:
                connection.execute(statement)
    assert run(app, "verify")[0] == 0


Change = Callable[[str], list[object]]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda i: [update(AuditEntry).where(AuditEntry.id == i).values(actor="x")], "Entry 3 ("),
        (lambda i: [update(AuditEntry).where(AuditEntry.id == i).values(detail={})], "Entry 3 ("),
        (lambda i: [delete(AuditEntry).where(AuditEntry.id == i)], "1 entries before number 4 are missing"),
        (
            lambda i: [delete(AuditEntry).where(AuditEntry.sequence >= 3)],
            "The chain ends with number 2, but the head is number ",
        ),
        (lambda i: [delete(AuditHead)], "The chain's head is missing"),
        (
            lambda i: [update(AuditEntry).where(AuditEntry.id == i).values(sequence=None, hash=None)],
            "1 entries are not in the chain",
        ),
    ],
    ids=["actor", "detail", "removed", "cut-off", "no-head", "unsealed"],
)
def test_what_was_altered_by_hand_is_found(
    app: Flask, entries: list[dict[str, object]], change: Change, fault: str
) -> None:
    """The command exits with 1, names the first broken place, and says how far the chain holds."""
    by_hand(app, *change(str(entries[2]["id"])))
    code, said, complaint = run(app, "verify")
    assert (code, said) == (1, "")
    assert fault in complaint, complaint


def test_a_chain_computed_anew_differs_from_the_link_that_was_kept(
    app: Flask, entries: list[dict[str, object]]
) -> None:
    """Somebody with the database and this program can make a whole chain; not the hash that somebody else kept."""
    kept = f"{entries[-1]['sequence']}:{entries[-1]['hash']}"
    by_hand(
        app,
        update(AuditEntry).where(AuditEntry.id == entries[2]["id"]).values(actor="somebody else"),
        update(AuditEntry).values(sequence=None, hash=None),
        update(AuditHead).values(sequence=0, hash=audit_chain.FIRST),
    )
    with app.app_context():
        transaction(lambda session: audit_chain.seal(session))
    assert run(app, "verify")[0] == 0
    code, _, complaint = run(app, "verify", "--head", kept)
    assert code == 1
    assert "was written anew" in complaint


def test_writers_at_the_same_time_make_one_chain(app: Flask, script: Script) -> None:
    """Eight at once, each its own transaction: no gap, no fork, no deadlock."""
    failures: list[Exception] = []

    def write(number: int) -> None:
        def work(session: object) -> None:
            audit.record(session, COMMAND_LINE, "test.at-once", number=number)  # type: ignore[arg-type]

        try:
            with app.app_context():
                for _ in range(5):
                    transaction(work)
        except Exception as error:
            failures.append(error)

    writers = [Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert not failures
    with app.app_context():
        assert len([link for link in audit_chain.read() if link.action == "test.at-once"]) == 40
        assert audit_chain.verify().faults == ()


def test_what_an_older_release_wrote_meanwhile_is_sealed_by_the_next_act(
    app: Flask, script: Script, entries: list[dict[str, object]]
) -> None:
    """During an upgrade it writes rows without a place."""
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO audit_entry (id, at, actor, action, detail)"
                " VALUES ('0000000000000000000000000000000a', '2026-01-01 00:00:00', 'old', 'node.update', '{}')"
            )
        )
    assert "not in the chain" in run(app, "verify")[2]
    script.post("/environments", {"name": "next"})
    assert run(app, "verify")[0] == 0


def test_the_log_from_before_the_chain_is_chained_by_the_migration(
    app: Flask, entries: list[dict[str, object]]
) -> None:
    """Down and up again: the same entries in the order of their ids, hashed as today's code hashes them."""
    for command in (("downgrade", "0007"), ("upgrade",)):
        done = app.test_cli_runner().invoke(args=["db", *command])
        assert done.exit_code == 0, done.output
    code, exported, _ = run(app, "export")
    assert code == 0
    assert [json.loads(line)["id"] for line in exported.splitlines()] == sorted(str(e["id"]) for e in entries)
    assert run(app, "verify")[0] == 0
