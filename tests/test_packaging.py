"""What is shipped: the wheel made from the sdist has everything that belongs in it, and nothing else."""

import ast
import gzip
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jupyter_agent"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSION = json.loads((ROOT / "labextension" / "package.json").read_text(encoding="utf-8"))["version"]
DATA = f"jupyter_agent-{VERSION}.data/data"
INFO = f"jupyter_agent-{VERSION}.dist-info"

WIDGET = "jupyter_agent/widgets/static"
WIDGET_BYTES = 300_000
"""The most that a page may have to load for a widget, as it travels: compressed."""

LAB = f"{DATA}/share/jupyter/labextensions/jupyter-agent/static"
LAB_BYTES = 300_000
"""The same for the lab extension: of whichever build, the one for development is larger."""
LOADER = rb"try\s*\{\s*return this\s*\|\|\s*new Function\(.return this.\)\(\)"
"""How the module loader of every lab extension finds `window` where there is no `globalThis`: no text of ours."""

WITHOUT_NODE = {**os.environ, "PATH": str(Path(sys.executable).parent)}


def build(source: Path, target: Path, *what: str, env: dict[str, str]) -> Path:
    """Builds with the packages of this environment, since a test has no network."""
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", *what, "--outdir", target, source],
        env=env,
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [made] = target.iterdir()
    return made


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The sdist of this working tree. Node is needed only where the lab extension was not built before."""
    return build(ROOT, tmp_path_factory.mktemp("sdist"), "--sdist", env=dict(os.environ))


@pytest.fixture(scope="module")
def source(sdist, tmp_path_factory):
    """The folder that the sdist unpacks to."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    [folder] = unpacked.iterdir()
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    """The files of the wheel made from the sdist alone, with no Node on the path."""
    with zipfile.ZipFile(build(source, tmp_path_factory.mktemp("wheel"), "--wheel", env=WITHOUT_NODE)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def package_files(root: Path) -> dict[str, Path]:
    """The files of the package below a folder by name, without what is built or cached."""
    names = {path.relative_to(root).as_posix(): path for path in (root / "jupyter_agent").rglob("*") if path.is_file()}
    built = re.compile(rf"^jupyter_agent/labextension/|^{WIDGET}/|__pycache__")
    return {name: path for name, path in names.items() if not built.search(name)}


@pytest.mark.timeout(900)
def test_the_sdist_has_the_package_to_the_byte(source):
    packed = package_files(source)
    assert packed.keys() == package_files(ROOT).keys()
    assert [name for name in packed if packed[name].read_bytes() != (ROOT / name).read_bytes()] == []


def test_the_wheel_has_the_package_of_the_sdist_to_the_byte(source, wheel):
    packed = {name: body for name, body in wheel.items() if name.startswith("jupyter_agent/")}
    wanted = {**package_files(source), **{f"{WIDGET}/{path.name}": path for path in (source / WIDGET).iterdir()}}
    assert packed == {name: path.read_bytes() for name, path in wanted.items()}


def test_the_wheel_has_the_lab_extension(wheel):
    place = f"{DATA}/share/jupyter/labextensions/jupyter-agent"
    package = json.loads(wheel[f"{place}/package.json"])
    assert package["name"] == "jupyter-agent"
    assert package["version"] == VERSION
    assert f"{place}/{package['jupyterlab']['_build']['load']}" in wheel
    assert f"{place}/static/style.js" in wheel
    assert json.loads(wheel[f"{place}/install.json"])["packageName"] == "jupyter_agent"


def test_the_lab_extension_is_small_and_whole(wheel):
    scripts = {name: body for name, body in wheel.items() if name.startswith(f"{LAB}/") and name.endswith(".js")}
    assert any("/remoteEntry." in name for name in scripts)
    assert sum(len(gzip.compress(body)) for body in scripts.values()) < LAB_BYTES
    for name, body in scripts.items():
        code = re.sub(rb"(?m)^\s*(//|/?\*).*$", b"", body)  # comments of a build for development
        code = re.sub(LOADER, b"", code)
        # Nothing is loaded from elsewhere, and no text becomes code.
        assert not re.search(rb"\beval\(|\bFunction\(|\bimportScripts\(|\bimport\s*\(", code), name
        assert not re.search(rb"[\"'`](https?:)?//[\w-]+\.\w|url\(\s*(https?:)?//|@import", code), name


def test_the_wheel_has_the_widget_which_is_small_and_whole(wheel):
    script, style = (wheel[f"{WIDGET}/widget.{kind}"] for kind in ("js", "css"))
    assert len(gzip.compress(script)) + len(gzip.compress(style)) < WIDGET_BYTES
    assert re.search(rb"export\s*\{\s*\w+ as default", script)
    # Nothing is loaded from elsewhere, and no text becomes code.
    assert not re.search(rb"(^|[;}])import[\s{*\"']|\bimport\s*\(|\beval\(|new Function\(|importScripts", script)
    assert not re.search(rb"@import|https?:|url\(\s*['\"]?(?!data:|#)", style)
    assert b"@lumino/signaling" in wheel[f"{WIDGET}/widget.licenses.txt"]


def test_the_wheel_enables_the_server_extension(wheel):
    config = json.loads(wheel[f"{DATA}/etc/jupyter/jupyter_server_config.d/jupyter_agent.json"])
    assert config == {"ServerApp": {"jpserver_extensions": {"jupyter_agent": True}}}


def test_the_wheel_has_the_migrations(wheel):
    migrations = [name for name in wheel if re.fullmatch(r"jupyter_agent/storage/migrations/versions/\w+\.py", name)]
    assert migrations
    assert "jupyter_agent/storage/migrations/env.py" in wheel


def test_the_wheel_has_the_built_in_workflows(wheel):
    scripts = {name.rsplit("/", 1)[1] for name in wheel if name.startswith("jupyter_agent/workflow/catalog/")}
    assert scripts == {
        "data-profile.py", "deep-research.py", "find-issues.py", "plan-verify.py", "review-code.py",
    }  # fmt: skip


def test_the_wheel_has_the_command_and_the_types(wheel):
    assert b"jupyter-agent = jupyter_agent.cli:main" in wheel[f"{INFO}/entry_points.txt"]
    assert {"jupyter_agent/py.typed", "jupyter_agent/words.pyi"} <= wheel.keys()
    assert f"{INFO}/licenses/LICENSE" in wheel


def test_the_wheel_has_nothing_else(wheel):
    assert {name.split("/")[0] for name in wheel} == {"jupyter_agent", f"jupyter_agent-{VERSION}.data", INFO}
    assert {"/".join(name.split("/")[:4]) for name in wheel if name.startswith(DATA)} == {
        f"{DATA}/share/jupyter",
        f"{DATA}/etc/jupyter",
    }
    # Files that Python runs by themselves at start-up, and what is only there on a machine that built something.
    unwanted = re.compile(r"\.pth$|(site|user)customize|(^|/)node_modules/|__pycache__|(^|/)\.")
    assert not [name for name in wheel if unwanted.search(name)]


def test_the_sdist_has_what_a_wheel_is_made_of_and_no_node_modules(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"pyproject.toml", "LICENSE", "labextension/package.json", "labextension/yarn.lock"} <= names
    assert {"jupyter_agent/labextension/static/style.js", f"{WIDGET}/widget.js", f"{WIDGET}/widget.css"} <= names
    assert not [name for name in names if "node_modules/" in name or name.startswith((".venv", ".git/"))]


def test_lock_files_name_no_other_registry_than_the_public_ones():
    locks = [ROOT / "labextension" / "yarn.lock", *ROOT.glob("tests/*/*/package-lock.json")]
    assert len(locks) > 1
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        hosts = set(re.findall(r"(?:\"resolved\": \"|archiveUrl=)(?:https?(?:://|%3A%2F%2F))([^/%\"]+)", text))
        assert hosts <= {"registry.npmjs.org", "registry.yarnpkg.com"}, lock


# --- dependencies ---------------------------------------------------------------------------------------------


def top_level_imports(folder: Path) -> set[str]:
    """The outermost names of everything that the Python files below a folder import, outside of ourselves."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {"jupyter_agent", "tests", "benchmarks"}


def declared(*extras: str) -> set[str]:
    """The names of the distributions that an installation with these extras asks for itself."""
    wanted = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return {re.split(r"[\[<>=~!; ]", line)[0].replace("_", "-").lower() for line in wanted}


def undeclared(folder: Path, *extras: str) -> list[str]:
    sources = packages_distributions()
    asked = declared(*extras)
    return sorted(
        name
        for name in top_level_imports(folder)
        if not {source.replace("_", "-").lower() for source in sources.get(name, [name])} & asked
    )


def test_the_package_imports_only_what_it_declares():
    assert undeclared(PACKAGE, "postgres", "sandbox") == []


def test_the_tests_import_only_what_they_declare():
    assert undeclared(ROOT / "tests", "lab", "postgres", "test") == []


# --- imports --------------------------------------------------------------------------------------------------

IMPORT_ALL = """
import importlib, pkgutil, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system"):
        raise RuntimeError(f"{event} {arguments} while modules are imported")

sys.addaudithook(refuse)
import jupyter_agent
for module in pkgutil.walk_packages(jupyter_agent.__path__, "jupyter_agent."):
    if ".migrations" not in module.name and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def test_no_module_calls_the_network_or_another_program_when_it_is_imported():
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", IMPORT_ALL], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
