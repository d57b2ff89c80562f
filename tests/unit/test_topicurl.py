"""URLs of topics: what they say, and what is said about those that are wrong."""

import pytest

from alder.errors import AlderError, Reason
from alder.topicurl import TopicUrl


def test_what_a_url_says() -> None:
    assert TopicUrl.parse("kafka://a:9092,b-2.x:1/my.topic_1-x") == TopicUrl(
        "a:9092,b-2.x:1", "my.topic_1-x"
    )
    assert TopicUrl.parse("kafka://[::1]:9092/t?start=latest") == TopicUrl(
        "[::1]:9092", "t", start="latest"
    )
    registry = "http://registry:8081"
    assert TopicUrl.parse(f"kafka://a:1/t?format=avro&registry={registry}") == TopicUrl(
        "a:1", "t", "avro", registry
    )
    both = TopicUrl.parse(f"kafka://a:1/t?format=avro&registry={registry}&keys=schema")
    assert both.keys == "schema"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("kafka://a/t", "no brokers as host:port"),
        ("kafka:///t", "no brokers as host:port"),
        ("kafka://user:secret@a:9092/t", "the login is a setting of the tailers"),
        ("kafka://a:9092", "names no topic"),
        ("kafka://a:9092/", "names no topic"),
        ("kafka://a:9092/x/y", "names no topic"),
        ("kafka://a:9092/..", "names no topic"),
        ("kafka://a:9092/t?sasl.password=secret", "an option 'sasl.password'"),
        ("kafka://a:9092/t?format=xml", "its format is none of"),
        ("kafka://a:9092/t?start=middle", "its start is none of"),
        ("kafka://a:9092/t?keys=schema", "neither plain nor, with a registry, schema"),
        ("kafka://a:9092/t?format=avro", "a schema registry is needed"),
        ("kafka://a:9092/t?registry=http://r", "and only for them"),
        ("kafka://a:9092/t?format=avro&registry=file:///x", "no http:// or https:// URL"),
    ],
)
def test_a_wrong_url_says_what_is_wrong_and_no_secret(url: str, why: str) -> None:
    with pytest.raises(AlderError, match=why) as caught:
        TopicUrl.parse(url)
    assert caught.value.reason is Reason.INVALID_ARGUMENT
    assert "secret" not in caught.value.message
