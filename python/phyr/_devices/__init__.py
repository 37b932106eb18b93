"""Code that `phyr.vfio` and `phyr.iommufd` share: requests, closing, I/O addresses."""
