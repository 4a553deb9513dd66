"""Whether an update is taken up, and whether a new agent has proved itself."""

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.plan import PendingAction, parse_action
from agent.update import (
    Standing,
    Trial,
    TrialJudge,
    UpdateTiming,
    Verdict,
    Wanted,
    examine,
    is_signed,
    parse_keys,
    parse_version,
    refuse_url,
    signed_message,
)

DIGEST = "ab" * 32
URL = "https://server/agent.pyz"
STANDING = Standing(version="1.2.0")
NOW = 5000.0
TIMING = UpdateTiming(patience=100.0, longest=500.0, retry=50.0, margin=10.0)
TRIAL = Trial("u1", "1.3.0", DIGEST, had_link=True, running=("p1", "p2"), timing=TIMING)


def action(**more: str) -> PendingAction:
    wish = {"type": "self_update", "actionId": "u1", "targetVersion": "1.3.0", "downloadUrl": URL}
    parsed = parse_action(wish | {"checksum": f"sha256:{DIGEST}"} | more)
    assert parsed is not None
    return parsed


def sign(key: Ed25519PrivateKey, version: str = "1.3.0", digest: str = DIGEST) -> str:
    return base64.b64encode(key.sign(signed_message(version, digest))).decode()


def refusal(wish: PendingAction, standing: Standing = STANDING) -> str:
    found = examine(wish, standing)
    assert isinstance(found, str), found
    assert found.startswith("cannot update: ")
    return found


def test_a_good_wish_is_taken_up() -> None:
    """The checksum with or without its prefix, in either case."""
    wanted = Wanted("u1", "1.3.0", URL, DIGEST)
    assert examine(action(), STANDING) == wanted
    assert examine(action(checksum=DIGEST.upper()), STANDING) == wanted
    assert examine(action(targetVersion="2"), STANDING) == replace(wanted, version="2")


def test_the_version_that_runs_needs_nothing() -> None:
    """Whatever else the action says: a wave may ask a node twice."""
    assert examine(action(targetVersion="1.2"), STANDING) is None


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ({"targetVersion": "1.1.9"}, "is older than 1.2.0"),
        ({"targetVersion": "1.3.0-rc1"}, "is not a version such as 1.2.3"),
        ({"targetVersion": "../../etc"}, "is not a version such as 1.2.3"),
        ({"targetVersion": ""}, "must name targetVersion"),
        ({"downloadUrl": ""}, "must name targetVersion, downloadUrl"),
        ({"checksum": "md5:" + "0" * 32}, "checksum (sha256:<64 hex>)"),
        ({"downloadUrl": "http://server/agent.pyz"}, "SIGNALBOX_ALLOW_HTTP_UPDATE=1"),
        ({"downloadUrl": "file:///etc/passwd"}, "is not an https address"),
        ({"downloadUrl": "https://[::1/agent"}, "is not an address"),
    ],
)
def test_what_is_not_right_is_refused(more: dict[str, str], part: str) -> None:
    """In one sentence, before anything is fetched."""
    assert part in refusal(action(**more))


def test_http_has_to_be_allowed() -> None:
    """Then and only then."""
    standing = replace(STANDING, allow_http=True)
    assert isinstance(examine(action(downloadUrl="http://server/agent.pyz"), standing), Wanted)
    assert refuse_url("ftp://server/x", allow_http=True) is not None


def test_a_file_that_failed_here_is_refused_with_the_reason() -> None:
    """The same version built anew may be tried."""
    standing = replace(STANDING, failed={("1.3.0", DIGEST): "it ended with exit code 1"})
    assert refusal(action(), standing).endswith("failed here before: it ended with exit code 1")
    assert isinstance(examine(action(checksum="cd" * 32), standing), Wanted)


def test_an_agent_that_cannot_be_replaced_says_why() -> None:
    """Before everything else."""
    standing = replace(STANDING, refusal="this agent runs in a container")
    assert refusal(action(targetVersion="1.2.0"), standing) == "cannot update: this agent runs in a container"


def test_a_signature_covers_version_and_digest_and_is_asked_for_once_there_is_a_key() -> None:
    """Without a key none is asked for; with several, one of them will do."""
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    keys = tuple(k.public_key().public_bytes_raw() for k in (key, other))
    standing = replace(STANDING, keys=keys[:1])
    assert isinstance(examine(action(signature=sign(key)), standing), Wanted)
    assert isinstance(examine(action(signature=sign(other)), replace(STANDING, keys=keys)), Wanted)
    assert refusal(action(), standing).endswith("1.3.0 is not signed")
    for bad in (
        sign(other),
        sign(key, version="1.3.1"),
        sign(key, digest="cd" * 32),
        sign(key)[:-4],
        "not base64!",
        "ä",
    ):
        assert refusal(action(signature=bad), standing).endswith("by a key that this node trusts")
    assert not is_signed("1.3.0", DIGEST, sign(key), (bytes(32),))


def test_keys_are_base64_by_comma() -> None:
    """What is no key is refused at the start, not at the first update."""
    key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    text = base64.b64encode(key).decode()
    assert parse_keys(f" {text}, {text},") == (key, key)
    assert parse_keys("") == ()
    for bad in ("x", text[:-4], base64.b64encode(bytes(32)).decode(), base64.b64encode(key + key).decode()):
        with pytest.raises(ValueError):
            parse_keys(bad)


def test_versions_compare_as_numbers() -> None:
    """And missing parts are zeros."""
    texts = ["0.9", "0.10", "0.10.0.1", "1", "1.0.1", "10"]
    versions = [parse_version(text) for text in texts]
    assert None not in versions
    assert versions == sorted(versions, key=lambda version: version or ())
    assert parse_version("1") == parse_version("1.0.0")
    assert [parse_version(text) for text in ("", "1.", "v1", "1.2.3.4.5", "1 ", "-1", "٣")] == [None] * 7


BOTH = frozenset({"p1", "p2"})


def judge(
    verdict: TrialJudge, now: float, *, link: bool = True, running: frozenset[str] = BOTH
) -> Verdict | None:
    return verdict.judge(now, has_link=link, running=running, wanted=BOTH)


def test_a_trial_is_accepted_once_all_is_as_it_was() -> None:
    """Configuration, heartbeat, push channel and pipelines; each alone is not enough."""
    trial = TrialJudge(TRIAL, NOW)
    assert judge(trial, NOW + 1) is None
    trial.configured(NOW + 1)
    assert judge(trial, NOW + 1) is None
    trial.reported(NOW + 2)
    assert judge(trial, NOW + 2, link=False) is None
    assert judge(trial, NOW + 2, running=frozenset({"p1"})) is None
    assert judge(trial, NOW + 2) == Verdict()


def test_what_was_not_there_before_is_not_asked_for() -> None:
    """No push channel, pipelines that did not run or are not wanted any more."""
    trial = TrialJudge(replace(TRIAL, had_link=False, running=("p1",)), NOW)
    trial.configured(NOW)
    trial.reported(NOW)
    assert judge(trial, NOW, link=False, running=frozenset({"p1"})) == Verdict()
    assert trial.judge(NOW, has_link=False, running=frozenset(), wanted=frozenset({"p2"})) == Verdict()


def test_patience_ends_and_the_verdict_says_what_was_missing() -> None:
    """Counted from the start where the server answered all the time."""
    trial = TrialJudge(TRIAL, NOW)
    trial.configured(NOW)
    trial.answered(NOW + 50)
    assert trial.next_deadline() == NOW + 100
    assert judge(trial, NOW + 99, running=frozenset()) is None
    verdict = judge(trial, NOW + 100, link=False, running=frozenset({"p1"}))
    assert verdict == Verdict(
        "within 100 s it got no heartbeat through, did not open the push channel, did not get pipeline p2 to run"
    )


def test_the_clock_stands_still_while_the_server_is_away() -> None:
    """The starter is asked for more time; once the server is back there is a whole patience left."""
    trial = TrialJudge(TRIAL, NOW)
    trial.unanswered()
    assert trial.next_deadline() == NOW + 100
    assert judge(trial, NOW + 100, link=False) is None
    assert trial.extension == 610
    assert trial.next_deadline() == NOW + 500

    trial.configured(NOW + 400)
    assert judge(trial, NOW + 499, link=False) is None
    assert trial.next_deadline() == NOW + 500
    assert judge(trial, NOW + 500, link=False) is not None


def test_a_server_that_stays_away_is_no_verdict_on_the_agent() -> None:
    """It is put off, not given up: also where the server answered at first."""
    trial = TrialJudge(TRIAL, NOW)
    trial.configured(NOW + 1)
    trial.unanswered()
    assert judge(trial, NOW + 150, link=False) is None
    assert judge(trial, NOW + 500, link=False) == Verdict("the server did not answer", server_is_away=True)


def test_a_refusal_is_an_answer() -> None:
    """A server that lives and takes nothing from this version speaks against it."""
    trial = TrialJudge(TRIAL, NOW)
    trial.answered(NOW + 1)
    verdict = judge(trial, NOW + 101)
    assert verdict is not None
    assert not verdict.server_is_away
