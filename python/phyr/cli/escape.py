"""Names from files, fit for a terminal."""

__all__ = ["escaped"]


def escaped(name: str) -> str:
    r"""Give a name fit for a terminal: a file's name may hold anything.

    Examples:
        >>> print(escaped("a\x1b[31m b"))
        a\x1b[31m b
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in name
    )
