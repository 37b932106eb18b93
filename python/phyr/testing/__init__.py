"""Checks for backends and domains of your own, with or without a test framework.

Each check is a function that raises `ConformanceError`, an `AssertionError`, with a sentence about
what is wrong. `check_domain` and `check_backend` run all of them.

Examples:
    >>> check_domain(TableDomain)
"""

from phyr.testing.backends import BACKEND_CHECKS, check_backend
from phyr.testing.conformance import ConformanceError
from phyr.testing.domains import DOMAIN_CHECKS, check_domain
from phyr.testing.table import TableDomain

__all__ = [
    "BACKEND_CHECKS",
    "DOMAIN_CHECKS",
    "ConformanceError",
    "TableDomain",
    "check_backend",
    "check_domain",
]
