"""Files that are written whole, and that only their owner reads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["whole_file"]


def _about(path: Path, error: OSError) -> OSError:
    """Return the same error about the file that was asked for."""
    return OSError(error.errno, error.strerror, str(path))


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file, all of it or nothing; only its owner reads it, as physical addresses are in it.

    It is written under another name beside `path`, which no file may have yet.

    Raises:
        OSError: It cannot be written.
    """
    part = Path(f"{path}.part{os.getpid()}")
    try:
        number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        # Who is to remove it has to know its name.
        raise
    except OSError as error:
        raise _about(path, error) from None
    try:
        with os.fdopen(number, "wb") as file:
            yield file
        try:
            part.replace(path)
        except OSError as error:
            raise _about(path, error) from None
    except BaseException:
        part.unlink(missing_ok=True)
        raise
