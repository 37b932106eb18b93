"""Code that `phyr.vfio` and `phyr.iommufd` share: requests, closing, I/O addresses."""

from phyr import _linux  # noqa: F401 - ends on Windows
