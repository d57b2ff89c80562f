"""How the command line fails: one sentence on stderr and an exit code, never a traceback.

1 for every error, 2 for wrong usage, 130 after Ctrl-C. A pipe closed by its reader ends the command
without a word.
"""

import errno
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

import click

from alder.errors import AlderError

logger = logging.getLogger(__name__)
EXIT_INTERRUPTED: Final = 130
MESSAGE_LENGTH_MAX: Final = 2000
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
_BLANKS: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


class CommandError(click.ClickException):
    """A failure of the command, shown as ``alder: sentence``."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Writes the sentence to stderr."""
        click.echo(f"alder: {one_line(self.message)}", file=file, err=file is None)


def one_line(message: str) -> str:
    """The message on one line, without what a terminal would take for commands."""
    line = _BLANKS.sub(" ", _ESCAPES.sub("", message)).strip()
    return line if len(line) <= MESSAGE_LENGTH_MAX else line[: MESSAGE_LENGTH_MAX - 1] + "…"


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Turns whatever goes wrong inside into what click shows and exits with."""
    try:
        yield
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except KeyboardInterrupt as error:
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from error
    except AlderError as error:
        raise CommandError(error.message) from error
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        raise CommandError(_os_error(error)) from error
    except MemoryError as error:
        raise CommandError("out of memory; ask for less at once, or write to a file") from error
    except Exception as error:
        logger.debug("internal error", exc_info=True)
        raise CommandError(
            f"internal error, please report it: {type(error).__name__}: {error}"
        ) from error


def _os_error(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason
