"""The files that a source's URL names, on this machine or in an S3-compatible store.

A listing looks at a bounded number of files and says if there are more.
"""

import glob
import itertools
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import unquote

from alder.files import identity_of
from tailer.sources.s3 import S3_SCHEME, StoredObject, list_objects, split_url

FILE_SCHEME: Final = "file://"
FILE_SCHEMES: Final = (FILE_SCHEME, S3_SCHEME)
_ANY_DEPTH: Final = "**"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listing:
    """Names with identities, sorted by name; ``is_cut``: there are more that were not looked at."""

    files: dict[str, str]
    is_cut: bool = False


def list_files(url: str, looked_at_max: int) -> Listing:
    """The files that a URL names. ``*``, ``?`` and ``[...]`` stand for parts of a name, ``**`` for
    any number of folders; a folder stands for all files in it.

    Raises OSError where the store can't be asked.
    """
    found = _objects(url) if url.startswith(S3_SCHEME) else _local(url)
    files = {
        name: identity for name, identity in itertools.islice(found, looked_at_max) if identity
    }
    return Listing(dict(sorted(files.items())), next(found, None) is not None)


def _local(url: str) -> Iterator[tuple[str, str]]:
    """What is at each path: no identity for what is no file."""
    path = unquote(url.removeprefix(FILE_SCHEME))
    for name in glob.iglob(
        os.path.join(path, "*") if os.path.isdir(path) else path, recursive=True
    ):
        try:
            status = os.stat(name)
        except OSError as error:
            logger.info("%s can't be looked at: %s", name, error)
            continue
        yield name, identity_of(status) if stat.S_ISREG(status.st_mode) else ""


def _objects(url: str) -> Iterator[tuple[str, str]]:
    """All objects below the folder that the URL begins with: no identity where it does not fit."""
    bucket, pattern = split_url(url)
    parts = pattern.split("/")
    if not glob.has_magic(pattern) and parts[-1]:
        try:
            yield url, StoredObject(url).identity()
            return
        except FileNotFoundError:
            parts.append("")
    if not parts[-1]:
        parts[-1] = "*"
    first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    for key, identity in list_objects(bucket, "/".join(parts[:first])):
        fits = _fits(key.split("/")[first:], parts[first:])
        yield f"{S3_SCHEME}{bucket}/{key}", identity if fits else ""


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == _ANY_DEPTH:
        return any(_fits(parts[depth:], pattern[1:]) for depth in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])
