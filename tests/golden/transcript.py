"""Golden transcripts: commands in a text file, and below each what it printed.

A file holds blocks: a command line (``name key=value ...``), a line ``----``, the expected output,
an empty line. ``pytest --rewrite`` writes what was printed into the files; commit that only if you
understand every difference.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Run = Callable[[str, Mapping[str, str]], str]


@dataclass(frozen=True)
class Block:
    """A comment above it, a command with its arguments, and what it should print."""

    comment: str
    command: str
    expected: str


def read(path: Path) -> list[Block]:
    """The blocks of a file."""
    blocks = []
    for text in path.read_text().strip("\n").split("\n\n"):
        head, _, expected = text.partition("\n----")
        lines = head.splitlines()
        blocks.append(Block("\n".join(lines[:-1]), lines[-1], expected.strip("\n")))
    return blocks


def replay(path: Path, run: Run, rewrite: bool) -> None:
    """Runs a file. Raises AssertionError at the first command that prints something else."""
    printed = []
    for block in read(path):
        name, *words = block.command.split()
        arguments = dict(word.split("=", 1) for word in words)
        output = run(name, arguments).strip()
        printed.append(Block(block.comment, block.command, output))
        assert rewrite or output == block.expected, (
            f"{path.name}: {block.command}\n{output}\n---- expected\n{block.expected}"
        )
    if rewrite:
        texts = (
            "\n".join(filter(None, (block.comment, block.command, "----", block.expected)))
            for block in printed
        )
        path.write_text("\n\n".join(texts) + "\n")
