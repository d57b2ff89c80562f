"""Logins of brokers: from a file, with secrets from elsewhere, and never in a message."""

from pathlib import Path

import pytest

from alder.errors import AlderError
from alder.topicurl import TopicUrl
from tailer.settings import KafkaSettings
from tailer.sources.kafka.clients import KafkaClients
from tailer.sources.kafka.logins import Login, login_of

URL = TopicUrl("a:9092,b:9092", "t")


def write(path: Path, text: str, table: str = URL.brokers) -> str:
    path.write_text(f'["{table}"]\n{text}\n')
    return str(path)


def test_secrets_come_from_files_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    monkeypatch.setenv("ALDER_TEST_USER", "from the environment")
    config = write(
        tmp_path / "kafka.toml",
        f'"sasl.password" = "file:{tmp_path}/secret"\n'
        '"sasl.username" = "env:ALDER_TEST_USER"\n'
        '"ssl.ca.location" = "/ca"\n"socket.timeout.ms" = 9',
    )
    login = login_of(config, URL.brokers)
    assert login.properties == {
        "sasl.password": "from a file",
        "sasl.username": "from the environment",
        "ssl.ca.location": "/ca",
        "socket.timeout.ms": "9",
    }
    hidden = login.without_secrets("user from the environment, password from a file, ca /ca")
    assert hidden == "user ***, password ***, ca /ca"
    assert "from" not in repr(login)


def test_other_brokers_get_nothing(tmp_path: Path) -> None:
    config = write(tmp_path / "kafka.toml", '"sasl.password" = "p"')
    assert login_of(config, "evil:9092") == Login()
    assert login_of(None, URL.brokers) == Login()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('"sasl.password" = "env:ALDER_TEST_UNSET"', "the environment has no variable"),
        ('"sasl.password" = "file:/nonexistent"', "can't read /nonexistent"),
        ('"enable.auto.commit" = true', "enable.auto.commit .* is decided by Alder"),
        ('"auto.offset.reset" = "latest"', "auto.offset.reset .* is decided by Alder"),
        ('"no.such.property" = "x"', 'No such configuration property: "no.such.property"'),
    ],
)
def test_a_wrong_login_is_an_error_that_says_where(tmp_path: Path, line: str, why: str) -> None:
    clients = KafkaClients(KafkaSettings(write(tmp_path / "kafka.toml", line)))
    with pytest.raises(AlderError, match=why):
        clients.consumer(URL, 1 << 20)


def test_a_secret_in_the_wrong_place_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    config = write(tmp_path / "kafka.toml", f'"security.protocol" = "file:{tmp_path}/secret"')
    with pytest.raises(AlderError) as caught:
        KafkaClients(KafkaSettings(config)).consumer(URL, 1 << 20)
    assert "hunter2" not in caught.value.message
    assert "security.protocol" in caught.value.message


def test_what_to_do_about_lost_records_is_one_of_two() -> None:
    with pytest.raises(AlderError, match="stop or quarantine, not 'skip'"):
        KafkaSettings(lost_records="skip")
