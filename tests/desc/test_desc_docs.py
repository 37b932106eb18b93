"""The examples in the docstrings of `phyr.desc`, those of native functions included."""

import doctest

import pytest

from phyr import desc

NAMES = [name for name in desc.__all__ if name not in {"from_ranges", "from_iomem"}]


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_a_docstring_run(name: str) -> None:
    item = getattr(desc, name)
    assert item.__doc__
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner()
    for test in finder.find(item, name, module=False, globs=vars(desc).copy()):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
