"""Generates `alder/v1/` from `protos/`; with --check, fails where the committed code drifted."""

import argparse
import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent


def generate(target: Path) -> None:
    """Writes the modules of every proto below ``target``."""
    sources = sorted((ROOT / "protos").rglob("*.proto"))
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = [
        "protoc",
        f"--proto_path={ROOT / 'protos'}",
        f"--proto_path={well_known}",
        f"--python_out={target}",
        f"--pyi_out={target}",
        *map(str, sources),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed; see its message above")
    package = target / "alder" / "v1"
    (package / "__init__.py").write_text(
        '"""Generated from `protos/alder/v1`; see `make protos`."""\n'
    )


def drift(fresh: Path, committed: Path) -> list[str]:
    """Names of the files that differ between two folders."""
    names = {
        path.name
        for folder in (fresh, committed)
        for path in folder.glob("*.py*")
        if path.is_file()
    }
    _, different, missing = filecmp.cmpfiles(fresh, committed, sorted(names), shallow=False)
    return sorted([*different, *missing])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh, committed = Path(scratch) / "alder" / "v1", ROOT / "alder" / "v1"
        if not check:
            shutil.rmtree(committed, ignore_errors=True)
            shutil.copytree(fresh, committed)
        elif changed := drift(fresh, committed):
            sys.exit(f"alder/v1 does not match protos/: {', '.join(changed)}; run `make protos`")


if __name__ == "__main__":
    main()
