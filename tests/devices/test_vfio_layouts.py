"""The layouts of VFIO's requests are those of the kernel's header."""

from pathlib import Path

from phyr._devices.uapi import Request
from phyr.iommufd import ioas, page_table
from phyr.vfio import container, device, type1
from support.layouts import layout_of, layouts

REQUESTS = {
    each.name: each
    for module in (container, device, type1, ioas, page_table)
    for each in vars(module).values()
    if isinstance(each, Request) and each.name.startswith("VFIO_")
}
# For each request with fields: the structure, and those fields in order. Newer kernels have more
# behind them.
STRUCTURES = {
    "VFIO_GROUP_GET_STATUS": ("group_status", "flags"),
    "VFIO_DEVICE_GET_REGION_INFO": ("region_info", "flags index cap_offset size offset"),
    "VFIO_DEVICE_GET_IRQ_INFO": ("irq_info", "flags index count"),
    "VFIO_DEVICE_SET_IRQS": ("irq_set", "flags index start count"),
    "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO": ("pci_hot_reset_info", "flags count"),
    "VFIO_DEVICE_PCI_HOT_RESET": ("pci_hot_reset", "flags count"),
    "VFIO_IOMMU_GET_INFO": ("iommu_type1_info", "flags iova_pgsizes cap_offset"),
    "VFIO_IOMMU_MAP_DMA": ("iommu_type1_dma_map", "flags vaddr iova size"),
    "VFIO_IOMMU_UNMAP_DMA": ("iommu_type1_dma_unmap", "flags iova size"),
    "VFIO_DEVICE_BIND_IOMMUFD": ("device_bind_iommufd", "flags iommufd out_devid"),
    "VFIO_DEVICE_ATTACH_IOMMUFD_PT": ("device_attach_iommufd_pt", "flags pt_id"),
}
# A number instead of a structure.
PLAIN = {
    "VFIO_CHECK_EXTENSION",
    "VFIO_SET_IOMMU",
    "VFIO_GROUP_SET_CONTAINER",
    "VFIO_GROUP_GET_DEVICE_FD",
    "VFIO_DEVICE_RESET",
}
# A request for a feature has a second structure behind the first.
DMA_BUF = "(VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF)"
FEATURE = {
    "VFIO_DEVICE_FEATURE": ("device_feature", "flags"),
    DMA_BUF: (
        "device_feature_dma_buf",
        "open_flags flags nr_ranges dma_ranges[0].offset dma_ranges[0].length",
    ),
}


def test_structures_are_those_of_the_header(tmp_path: Path) -> None:
    assert {*STRUCTURES, *PLAIN, "VFIO_DEVICE_FEATURE"} == {*REQUESTS}
    named = {**STRUCTURES, **dict.fromkeys(PLAIN, ("group_status", "")), **FEATURE}
    structures = {name: (f"vfio_{each}", fields) for name, (each, fields) in named.items()}
    told = layouts("linux/vfio.h", structures, tmp_path)
    for name, request in REQUESTS.items():
        size, number, offsets = layout_of(request)
        assert told[name][1] == number, name
        if name in STRUCTURES:
            assert (told[name][2], told[name][0] >= size) == (offsets, True), name
    # The second of the two starts with its first field, and has no size of its own.
    first, _, (flags,) = told["VFIO_DEVICE_FEATURE"]
    _, which, rest = told[DMA_BUF]
    _, _, offsets = layout_of(REQUESTS["VFIO_DEVICE_FEATURE"])
    assert offsets == [flags, first, *(first + at for at in rest)]
    assert which == device._GET_DMA_BUF  # noqa: SLF001
