"""Files of the command line: whole or not there, for their owner only, others left alone."""

import errno
import os
import resource
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from phyr import cli
from phyr.cli import scan
from phyr.cli.whole import whole_file
from support.live import shown


def test_a_file_is_there_when_it_is_whole_and_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    path.chmod(0o644)
    with whole_file(path) as file:
        file.write(b"after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_if_writing_fails_nothing_changes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), whole_file(path):
        raise KeyboardInterrupt
    with pytest.raises(IsADirectoryError), whole_file(tmp_path):
        pass
    assert (list(tmp_path.iterdir()), path.read_text()) == ([path], "before")
    assert not Path(f"{tmp_path}.part{os.getpid()}").exists()


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "file"):
        with pytest.raises(OSError, match=f"{path}'$") as info, whole_file(path):
            pass
        assert info.value.filename == str(path)


def test_an_error_of_writing_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    """As that of a full device does, which says no name itself."""
    path = tmp_path / "file"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match=f"{path}'$") as info, whole_file(path) as file:
            file.write(bytes(1 << 16))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (info.value.errno, info.value.filename) == (errno.EFBIG, str(path))
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_reading_keeps_what_it_says(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such process") as info, whole_file(tmp_path / "file"):
        raise ProcessLookupError(errno.ESRCH, "No such process")
    assert info.value.filename is None
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_another_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / f"file.part{os.getpid()}"
    other.write_text("precious")
    with pytest.raises(FileExistsError), whole_file(tmp_path / "file"):
        pass
    assert other.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [other]


@shown
@pytest.mark.parametrize(
    "command", [("dump", "self", "-o"), ("map", "self", "--arrow"), ("map", "self", "--parquet")]
)
def test_all_commands_write_so(tmp_path: Path, command: tuple[str, ...]) -> None:
    other = tmp_path / "file.part"
    other.write_text("precious")
    result = CliRunner().invoke(cli.phyr, [*command, str(tmp_path / "file")])
    assert result.exit_code == 0, result.output
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert other.read_text() == "precious"


@pytest.mark.parametrize("command", [("dump", "self", "-o"), ("map", "self", "--parquet")])
def test_a_name_of_no_file_takes_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    empty = scan.Scanned("self", "", 4096, device_known=True, rows=[], pmd_mapped={})
    monkeypatch.setattr(scan, "scan", lambda *_: empty)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.phyr, [*command, "."])
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spelt", ["file", "./file", "folder/../file", "link"])
def test_two_forms_in_one_file_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spelt: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("link").symlink_to("file")
    result = CliRunner().invoke(cli.phyr, ["map", "self", "--arrow", spelt, "--parquet", "file"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--arrow and --parquet name one file" in result.stderr
    assert not Path("file").exists()


@pytest.mark.parametrize("option", ["--arrow", "--parquet"])
def test_json_beside_a_file_of_rows_is_refused(tmp_path: Path, option: str) -> None:
    path = tmp_path / "file"
    result = CliRunner().invoke(cli.phyr, ["map", "self", "--json", option, str(path)])
    assert (result.exit_code, result.stdout, path.exists()) == (2, "", False)
    assert "--json does not go with --arrow or --parquet" in result.stderr
