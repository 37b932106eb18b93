"""``phyr picture``: physical memory as a map.

`pieces` gives the memory as arrays, `layers` colours it, `curve` folds the address space, `cells`
counts; `plot`, `page` and `terminal` draw what `drawing` put together. Needs the extra
``phyr[picture]``.
"""
