"""Packs the measured functions as they are deployed, and prints their sizes. Usage: sizes.py OUT BIN VENV HANDLER"""

import json
import sys
import zipfile
from pathlib import Path

# Packages of Lambda's Python runtime, and pip's own.
NOT_DEPLOYED = {"boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six.py", "urllib3", "awslambdaric", "simplejson"}
NOT_DEPLOYED |= {"snapshot_restore_py.py", "pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence.pth"}


def pack(archive: Path, files: list[tuple[Path, str]]) -> dict[str, int]:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for path, name in files:
            packed.write(path, name)
    return {"size": sum(path.stat().st_size for path, _ in files), "zip": archive.stat().st_size}


def python_files(venv: Path, handler: Path) -> list[tuple[Path, str]]:
    packages = next(venv.glob("lib/python3.*/site-packages"))
    files = [(handler, handler.name)]
    for path in sorted(packages.rglob("*")):
        top, *rest = path.relative_to(packages).parts
        if path.is_file() and top not in NOT_DEPLOYED and "__pycache__" not in path.parts and ".dist-info" not in top:
            files.append((path, "/".join([top, *rest])))
    # A custom runtime is linked to the interpreter, not to the function.
    return [(path, name) for path, name in files if not name.startswith("runtime_client.")]


def main() -> None:
    out, programs, venv, handler = map(Path, sys.argv[1:])
    zips = out / "zip"
    zips.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for program in sorted(programs.glob("*/*")):
        build = program.parent.name
        archive = zips / f"{build}-{program.name}.zip"
        sizes[f"{build}/{program.name}"] = pack(archive, [(program, "bootstrap")])
    sizes["python"] = pack(zips / "python.zip", python_files(venv, handler))
    (out / "sizes.json").write_text(json.dumps(sizes, indent=2))


main()
