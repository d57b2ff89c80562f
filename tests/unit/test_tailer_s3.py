"""Objects of S3-compatible stores, as far as that needs no server."""

import os

import pytest

from tailer.sources.s3 import list_objects


def test_a_store_without_credentials_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(PermissionError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        list(list_objects("a-bucket-without-credentials", ""))
