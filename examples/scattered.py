"""A scattered buffer as a list: slices, positions, blocks of one size. Runs anywhere."""

from phyr import AlignmentError, Builder, Phyr

# Three huge pages, then small ones from here and there.
builder = Builder()
for paddr in (0x4000_0000, 0x4020_0000, 0x8_0000_0000):
    builder.append(paddr, 2 << 20)
builder.extend_pfns([0x1_2345, 0x1_2346, 0x7_0000])
phyr = builder.finish()

print(phyr)
print("chunks:", [f"{paddr:#x}+{length:#x}" for paddr, length in phyr.chunks])
print("blocks of each order:", phyr.orders())

# A packet of 1500 bytes that starts a little before the end of the huge pages.
packet = phyr[(6 << 20) - 100 :][:1500]
print("packet:", list(packet.chunks))
print("its byte 100 lies at", hex(packet[100]))

# A device that knows only pages of 2 MiB takes the huge part, and not the rest.
print("2 MiB blocks:", [hex(block) for block in phyr[: 6 << 20].pages(2 << 20)])
try:
    phyr.pages(2 << 20)
except AlignmentError as error:
    print("all of it:", error)

# The list travels as bytes, the same for equal lists.
assert Phyr.from_bytes(phyr.to_bytes()) == phyr
print(len(phyr.to_bytes()), "bytes serialised for", len(phyr), "bytes of memory")
