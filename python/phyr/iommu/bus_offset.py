"""A bus that sees physical addresses plus a constant: the result is a new list."""

from collections.abc import Mapping

from phyr._arguments import having, listing, whole
from phyr._phyr import Phyr, shift
from phyr.errors import MismatchError
from phyr.iommu.protocols import Direction

__all__ = ["BusOffset"]


class BusOffset:
    """A bus whose addresses are physical addresses plus a constant.

    A device's own memory is reached through a switch. So for MMIO lists the constant belongs to the
    provider, not to the bus.

    Args:
        offset: Bytes added to the addresses of RAM, negative to subtract; 0 returns the same list.
        providers: For each provider of MMIO that a switch routes to, the bytes added to its
            addresses.

    Raises:
        TypeError: A number is not an int, or `providers` no mapping.

    Examples:
        >>> bus = BusOffset(-0x8000_0000, providers={3: 0x100_0000})
        >>> phyr = Phyr.from_pages([0x8000_7000, 0x8000_3000])
        >>> [hex(paddr) for paddr, _ in bus.map(phyr, Direction.TO_DEVICE).chunks]
        ['0x7000', '0x3000']
        >>> bus.map(Phyr.from_pages([0x1000], kind="mmio:3"), Direction.TO_DEVICE)
        Phyr(0x1000 bytes, granule 4096, mmio:3, 1 chunk: 0x1001000+0x1000)
    """

    def __init__(self, offset: int, providers: Mapping[int, int] | None = None) -> None:
        """Store the constants."""
        self.offset = whole("offset", offset)
        having("providers", providers or {}, ("items",), "a mapping of provider to offset")
        self.providers = {
            whole("a provider", key): whole(f"the offset of provider {key}", value)
            for key, value in (providers or {}).items()
        }

    def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
        """Return the bus addresses of `phyr`.

        Raises:
            RangeError: An address would pass 0 or 2^64, or the constant is not a multiple of the
                list's granule.
            MismatchError: There is no route to the provider of an MMIO list; or the list has user
                addresses, which no bus has.
            TypeError: `phyr` is no list.
        """
        listing("phyr", phyr)
        if phyr.kind in ("ram", "user"):  # which `shift` refuses
            return shift(phyr, self.offset)
        # "mmio" is "mmio:0".
        provider = int(phyr.kind.partition(":")[2] or 0)
        if provider not in self.providers:
            raise MismatchError(
                f"no route to provider {provider} of a list of kind {phyr.kind!r}; "
                f"routes lead to {sorted(self.providers)}",
                provider=provider,
            )
        return shift(phyr, self.providers[provider])

    def unmap(self, dma: Phyr, direction: Direction) -> None:
        """Do nothing."""

    def __repr__(self) -> str:
        """Show the constants."""
        routes = "".join(f", mmio:{key} {offset:+#x}" for key, offset in self.providers.items())
        return f"BusOffset({self.offset:+#x}{routes})"
