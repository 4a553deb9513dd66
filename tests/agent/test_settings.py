from pathlib import Path

import certifi
import pytest

from agent.protocol import DeploymentMode
from agent.settings import SettingsError, read_settings

KEY = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
"""The public key of the RFC's first example."""
URL = {"SIGNALBOX_URL": "https://signalbox.example/"}


def test_the_defaults_are_as_documented() -> None:
    """With the address alone an agent can be configured."""
    settings = read_settings(URL)

    assert settings.url == "https://signalbox.example"
    assert settings.token is None
    assert settings.data_dir == Path("/var/lib/signalbox-agent")
    assert settings.vector_bin == "vector"
    assert settings.poll_interval_seconds == 15
    assert settings.labels == {}
    assert settings.log_level == "INFO"
    assert settings.deployment_mode is None
    assert (settings.update_key, settings.allow_http_update) == (None, False)
    assert settings.ca_file is None


def test_every_setting_is_read() -> None:
    """Each variable has its effect."""
    settings = read_settings(
        URL
        | {
            "SIGNALBOX_TOKEN": "t",
            "SIGNALBOX_DATA_DIR": "/d",
            "SIGNALBOX_VECTOR_BIN": "/opt/vector",
            "SIGNALBOX_POLL_INTERVAL": "2.5",
            "SIGNALBOX_LABELS": "zone=a, tier = web ,empty=",
            "SIGNALBOX_LOG_LEVEL": "warn",
            "SIGNALBOX_DEPLOYMENT_MODE": "standalone",
            "SIGNALBOX_UPDATE_KEY": KEY,
            "SIGNALBOX_ALLOW_HTTP_UPDATE": "1",
        }
    )

    assert (settings.token, settings.data_dir, settings.vector_bin) == ("t", Path("/d"), "/opt/vector")
    assert settings.poll_interval_seconds == 2.5
    assert settings.labels == {"zone": "a", "tier": "web", "empty": ""}
    assert settings.log_level == "WARNING"
    assert settings.deployment_mode is DeploymentMode.STANDALONE
    assert (settings.update_key, settings.allow_http_update) == (KEY, True)


def test_a_unit_file_of_vectorflow_is_understood_as_it_is() -> None:
    """A node changes agents without changing its environment."""
    settings = read_settings(
        {
            "VF_URL": "http://v:3000",
            "VF_TOKEN": "t",
            "VF_VECTOR_BIN": "/v",
            "VF_POLL_INTERVAL": "1m",
            "VF_NODE_LABELS": "a=b",
            "VF_LOG_LEVEL": "debug",
        }
    )

    assert (settings.url, settings.token, settings.vector_bin) == ("http://v:3000", "t", "/v")
    assert (settings.poll_interval_seconds, settings.labels) == (60, {"a": "b"})
    assert settings.data_dir == Path("/var/lib/vf-agent")
    assert settings.log_level == "DEBUG"


def test_our_own_names_win() -> None:
    """Where both are set, ours is meant."""
    settings = read_settings(URL | {"VF_URL": "http://old", "VF_DATA_DIR": "/old", "VF_TOKEN": "old"})

    assert settings.url == "https://signalbox.example"
    assert settings.data_dir == Path("/old")
    assert settings.token == "old"


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, "SIGNALBOX_URL"),
        ({"SIGNALBOX_URL": "signalbox.example"}, "SIGNALBOX_URL"),
        ({"SIGNALBOX_URL": "ftp://signalbox.example"}, "SIGNALBOX_URL"),
        ({"SIGNALBOX_URL": "http://signalbox.example:99999"}, "SIGNALBOX_URL"),
        (URL | {"SIGNALBOX_POLL_INTERVAL": "soon"}, "SIGNALBOX_POLL_INTERVAL"),
        (URL | {"SIGNALBOX_POLL_INTERVAL": "0"}, "SIGNALBOX_POLL_INTERVAL"),
        (URL | {"SIGNALBOX_LABELS": "zone"}, "SIGNALBOX_LABELS"),
        (URL | {"SIGNALBOX_LOG_LEVEL": "loud"}, "SIGNALBOX_LOG_LEVEL"),
        (URL | {"SIGNALBOX_DATA_DIR": "/data/$HOME"}, "SIGNALBOX_DATA_DIR"),
        (URL | {"SIGNALBOX_DEPLOYMENT_MODE": "boat"}, "SIGNALBOX_DEPLOYMENT_MODE"),
        (URL | {"SIGNALBOX_UPDATE_KEY": KEY[:-4]}, "SIGNALBOX_UPDATE_KEY"),
        (URL | {"SIGNALBOX_CA_FILE": "/nowhere.pem"}, "SIGNALBOX_CA_FILE"),
        (URL | {"SIGNALBOX_CA_FILE": __file__}, "SIGNALBOX_CA_FILE"),
        (URL | {"SSL_CERT_FILE": "/nowhere.pem"}, "SSL_CERT_FILE"),
        (URL | {"HTTPS_PROXY": "socks5://proxy:1080"}, "HTTPS_PROXY"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named_in_one_sentence(
    environment: dict[str, str], name: str
) -> None:
    """Whoever set it reads what is wrong, and nothing else."""
    with pytest.raises(SettingsError) as refusal:
        read_settings(environment)

    assert str(refusal.value).startswith("cannot start: ")
    assert name in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_token_does_not_show() -> None:
    """Settings may be printed."""
    assert "hunter2" not in repr(read_settings(URL | {"SIGNALBOX_TOKEN": "hunter2"}))


def test_our_own_name_for_the_authorities_wins() -> None:
    """What a node has already counts where ours is not set; certifi's file stands for a private one."""
    others = {"REQUESTS_CA_BUNDLE": "/nowhere.pem", "SSL_CERT_FILE": "/nowhere.pem"}

    assert read_settings(URL | others | {"SIGNALBOX_CA_FILE": certifi.where()}).ca_file == certifi.where()
    assert read_settings(URL | {"SSL_CERT_FILE": certifi.where()}).ca_file == certifi.where()


def test_a_proxy_that_is_not_on_the_way_is_nobodys_concern() -> None:
    """Set for other programs of the node, and this server is reached without it."""
    read_settings(URL | {"ALL_PROXY": "socks5://proxy:1080", "NO_PROXY": "signalbox.example"})
