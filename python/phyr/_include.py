"""Where the header for C and C++ is."""

from pathlib import Path


def include() -> str:
    """Return the folder that holds ``phyr.h``, for a C or C++ compiler's ``-I``.

    The header reads serialised lists (`Phyr.to_bytes`) where they lie, without a library.

    Examples:
        ``cc -I"$(python3 -c 'import phyr; print(phyr.include())')" driver.c``

        >>> import pathlib, phyr
        >>> (pathlib.Path(phyr.include()) / "phyr.h").is_file()
        True
    """
    return str(Path(__file__).with_name("_headers"))
