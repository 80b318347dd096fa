"""The generated files are what the structs say, and the check notices when they are not."""

import pytest

from jupyter_agent.protocol import generate


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout to write into, with the folders that a real one has."""
    types = tmp_path / "labextension" / "src" / "protocol.ts"
    types.parent.mkdir(parents=True)
    monkeypatch.setattr(generate, "CHECKOUT", tmp_path)
    monkeypatch.setattr(generate, "TYPES_FILE", types)
    monkeypatch.setattr(generate, "SCHEMA_FILE", tmp_path / "docs" / "protocol.schema.json")
    monkeypatch.setattr(generate, "REFERENCE_FILE", tmp_path / "docs" / "protocol-reference.md")
    return tmp_path


def test_the_committed_files_are_up_to_date(capsys):
    assert generate.main(["--check"]) == 0, capsys.readouterr().err


def test_what_is_written_passes_the_check(checkout):
    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


def test_a_changed_file_is_named(checkout, capsys):
    generate.main([])
    types = checkout / "labextension" / "src" / "protocol.ts"
    types.write_text(types.read_text().replace("readonly crc", "readonly sum", 1))
    assert generate.main(["--check"]) == 1
    complaint = capsys.readouterr().err
    assert "labextension/src/protocol.ts" in complaint
    assert "docs/protocol.schema.json" not in complaint


def test_outside_a_checkout_it_says_so(checkout, capsys):
    (checkout / "labextension" / "src").rmdir()
    assert generate.main([]) == 2
    assert "checkout" in capsys.readouterr().err
