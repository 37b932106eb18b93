"""Rings of io_uring that fail at one call, and tell what was asked of them."""

import os

import pytest

from phyr import _phyr
from phyr._phyr import Ring
from phyr.pinning import methods, rings

__all__ = ["Rings"]


class Rings:
    """Rings that fail at one call, and count."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, fail: str, number: int, at: int = 0
    ) -> None:
        self.fail, self.number, self.at = fail, number, at
        self.pieces: list[tuple[int, int]] = []
        self.real: Ring | None = None
        self.abandoned = 0
        monkeypatch.setattr(_phyr, "Ring", self)
        # There is no shared ring yet.
        monkeypatch.setattr(methods.Registered, "shared", rings.Rings())

    def __call__(self) -> "Rings":
        self._maybe("setup")
        self.real = Ring()
        return self

    def _maybe(self, step: str) -> None:
        if step == self.fail:
            raise OSError(self.number, os.strerror(self.number))

    def reserve(self, count: int) -> None:
        self._maybe("reserve")
        assert self.real is not None
        self.real.reserve(count)

    def register(self, index: int, uaddr: int, length: int) -> None:
        assert (self.real is not None, index) == (True, len(self.pieces))
        if index == self.at:
            self._maybe("register")
        self.real.register(index, uaddr, length)  # type: ignore[union-attr]
        self.pieces.append((uaddr, length))

    def release(self, index: int) -> bool:
        assert self.real is not None
        return self.real.release(index) and self.fail != "release"

    def unregister(self) -> None:
        assert self.real is not None
        self.real.unregister()

    def abandon(self) -> None:
        self.abandoned += 1

    def close(self) -> None:
        if self.real is not None:
            self.real.unregister()
