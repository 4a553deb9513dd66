import hashlib
import json
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from agent import store as store_module
from agent.ledger import ActionRecord
from agent.plan import CertFile, Declined, Memory
from agent.store import Store, StoreError, write_atomically
from tests.agent.playbook import spec
from tests.support.until import until

DECLINED = Declined("p1", "sum-2", 2, "boom", 3, False)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store(tmp_path / "data")
    opened.open()
    return opened


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_kept_is_read_back(store: Store) -> None:
    """Token, enrollment and plan outlive the process, secrets included."""
    secret = spec(1, secrets={"VF_SECRET_A": "x"}, cert_files=(CertFile("a.pem", "eA=="),))
    store.keep_enrollment("node-token-1", "enroll-1")
    store.keep_plan(Memory((secret,), (DECLINED,)))

    assert store.node_token() == "node-token-1"
    assert store.is_enrolled_with("enroll-1") is True
    assert store.is_enrolled_with("enroll-2") is False
    assert store.plan() == Memory((secret,), (DECLINED,))


def test_the_plan_of_an_earlier_release_is_read(store: Store) -> None:
    """It kept neither crashes nor what never ran; a later one's additions are passed over."""
    whole = Memory((spec(),), (), unproved=("p1",), crashes=(("p1", 3),))
    store.keep_plan(whole)
    assert store.plan() == whole
    record = json.loads((store.data_dir / "plan.json").read_bytes().partition(b"\n")[2])
    body = json.dumps({name: record[name] for name in ("pipelines", "declined")} | {"later": 1}).encode()
    (store.data_dir / "plan.json").write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)

    assert store.plan() == Memory((spec(),), ())


def test_an_empty_folder_knows_nothing(store: Store) -> None:
    """A first start is no error."""
    assert store.node_token() is None
    assert store.is_enrolled_with("x") is None
    assert store.plan() == Memory()


def test_only_the_agent_can_read_what_is_secret(store: Store) -> None:
    """0600, whatever the umask says."""
    before = os.umask(0)
    try:
        store.keep_enrollment("t", "e")
        store.keep_plan(Memory((spec(),), ()))
        store.write_cert_files(spec(cert_files=(CertFile("a.pem", "eA=="),)))
    finally:
        os.umask(before)

    files = [store.data_dir / name for name in ("node-token", "enrollment.json", "plan.json", "certs/a.pem")]
    assert [mode(path) for path in files] == [0o600] * 4
    assert mode(store.data_dir) == 0o700
    assert "enroll" not in (store.data_dir / "enrollment.json").read_text().replace("enrollmentTokenHash", "")


def test_the_install_id_stays(store: Store) -> None:
    """A lost answer to enrolling must not make a second node."""
    first = store.install_id()
    store.keep_enrollment("t", "e")

    assert store.install_id() == first
    assert store.is_enrolled_with("e") is True


@pytest.mark.parametrize("length", [0, 10, 64, 65, 100, -1])
def test_a_torn_plan_is_never_taken_for_a_plan(store: Store, length: int) -> None:
    """Cut anywhere it is an error; an error changes nothing, an empty plan would stop everything."""
    store.keep_plan(
        Memory(
            (
                spec(),
                spec(pipeline_id="p2"),
            ),
            (),
        )
    )
    whole = (store.data_dir / "plan.json").read_bytes()
    (store.data_dir / "plan.json").write_bytes(whole[:length])

    with pytest.raises(StoreError, match=r"cannot read .*plan.json"):
        store.plan()


def test_a_plan_with_a_wrong_byte_is_never_run(store: Store) -> None:
    """Still JSON, still a plan, but not the one that was kept."""
    store.keep_plan(Memory((spec(),), ()))
    plan = store.data_dir / "plan.json"
    plan.write_bytes(plan.read_bytes().replace(b"# sum-1", b"# sun-1"))

    with pytest.raises(StoreError, match="it is damaged"):
        store.plan()


def test_a_write_that_is_cut_off_leaves_the_old_content(store: Store) -> None:
    """SIGKILL while writing, over and over: a reader finds one whole plan or the other."""
    program = textwrap.dedent(
        """
        import sys, pathlib
        from agent.plan import Memory
        from agent.store import Store
        from tests.agent.playbook import spec
        store = Store(pathlib.Path(sys.argv[1]))
        n = 0
        while True:
            n += 1
            store.keep_plan(Memory((spec(n, "x" * 200_000),), ()))
        """
    )
    plan = store.data_dir / "plan.json"
    for _ in range(5):
        plan.unlink(missing_ok=True)
        writer = subprocess.Popen([sys.executable, "-c", program, str(store.data_dir)])
        until(plan.exists, what="a first plan")
        writer.kill()
        writer.wait()
        (kept,) = store.plan().pipelines
        assert kept.checksum == "x" * 200_000

    store.remove_leftovers()
    assert not list(store.data_dir.glob(".*.tmp"))


def test_a_full_disk_is_an_error_and_leaves_the_old_content(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written is not half written, and leaves nothing lying about."""
    store.keep_plan(Memory((spec(1),), ()))

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module.os, "fsync", fail)
    with pytest.raises(StoreError, match=r"cannot write .*plan\.json: No space left on device"):
        store.keep_plan(Memory((spec(2),), ()))
    monkeypatch.undo()

    assert store.plan().pipelines == (spec(1),)
    assert sorted(path.name for path in store.data_dir.iterdir()) == ["lock", "plan.json"]


def test_two_agents_cannot_use_one_folder(store: Store) -> None:
    """They would fight over the children's checkpoints and the token."""
    with pytest.raises(StoreError, match="another agent is running on it"):
        Store(store.data_dir).open()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """One sentence, with the path."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match=r"cannot use the data folder .*file/data"):
        Store(tmp_path / "file" / "data").open()


def test_certificates_that_are_no_base64_are_an_error(store: Store) -> None:
    """Vector would otherwise complain about a file that we spoilt."""
    with pytest.raises(StoreError, match=r"cannot write certificate a\.pem"):
        store.write_cert_files(spec(cert_files=(CertFile("a.pem", "e A="),)))


def test_a_removed_pipeline_leaves_vectors_checkpoints(store: Store) -> None:
    """Should it come back, it goes on where it was."""
    store.write_pipeline_file("p1", "pipeline.yaml", "x")
    (store.pipeline_dir("p1") / "data" / "checkpoints.json").write_text("{}")

    store.remove_pipeline("p1")

    assert [path.name for path in store.pipeline_dir("p1").rglob("*") if path.is_file()] == [
        "checkpoints.json"
    ]


def test_replacing_a_file_keeps_its_readers_whole(tmp_path: Path) -> None:
    """Whoever has the old file open goes on reading the old file."""
    path = tmp_path / "f"
    write_atomically(path, b"old", is_lasting=True)
    with path.open("rb") as reader:
        write_atomically(path, b"new", is_lasting=True)
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


def test_actions_are_remembered(store: Store) -> None:
    """With what is owed about them; a damaged file says so."""
    assert store.actions() == ()
    records = (ActionRecord("a1", "restart"), ActionRecord("a2", "self_update", True, "no", True))
    store.keep_actions(records)
    assert store.actions() == records
    (store.data_dir / "actions.json").write_text('{"actions": [1]}')
    with pytest.raises(StoreError, match="it is damaged"):
        store.actions()
