"""How the tests say that a list and its model are the same, and that an error names its numbers."""

from collections.abc import Iterable

from phyr import Phyr, PhyrError
from support.model import Model


def built(model: Model) -> Phyr:
    """Return the list of a model's pieces."""
    return Phyr.from_chunks(model.pieces, granule=model.granule, kind=model.kind)


def agree(phyr: Phyr, model: Model) -> None:
    """Assert that a list is sound and is what the model says: the check after every step."""
    phyr.validate()
    assert phyr.length == model.length
    assert (phyr.granule, phyr.kind) == (model.granule, model.kind)
    assert list(phyr.chunks) == model.chunks()


def agree_at(phyr: Phyr, model: Model, positions: Iterable[int]) -> None:
    """Assert that both put the bytes at these positions at the same address, in the same chunk."""
    for position in positions:
        assert phyr[position] == model.translate(position)
        assert phyr.chunks.find(position) == model.find(position)


def names(error: PhyrError, *numbers: int) -> None:
    """Assert that an error shows these numbers in its text, and holds them as attributes."""
    text = str(error)
    for number in numbers:
        assert f"{number:#x}" in text or str(number) in text, (number, text)
        assert number in vars(error).values(), (number, vars(error))
