"""Which command installs the packages of an extra."""

__all__ = ["install"]


def install(extra: str) -> str:
    """Give the command. No registry has a release of phyr yet, so it names a checkout.

    Examples:
        >>> install("cli")
        "pip install '.[cli]' in a checkout"
    """
    return f"pip install '.[{extra}]' in a checkout"
