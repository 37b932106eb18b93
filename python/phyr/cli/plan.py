"""``phyr plan``: the cost of giving memory to a device."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phyr.cli.common import refusing, size_of, vma_option

if TYPE_CHECKING:
    from phyr._phyr import Phyr

__all__ = ["plan"]

_NAMES = ("nvme", "rdma", "vfio", "iommufd", "sg", "iommu")
_USUAL = "4K,2M,1G"
_EXAMPLES = """\b
Examples:
  phyr plan 1234 --device nvme --vma heap
  phyr plan 1234 --device iommu=4K,2M,1G
  phyr plan buffer.phyr --device rdma=4K,2M --json"""


def _device(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, int]:
    from phyr.cli.cost import page_sizes  # noqa: PLC0415 - only where it is planned

    name, equals, sizes = value.partition("=")
    if name not in _NAMES or (equals and name not in ("rdma", "iommu")):
        raise click.BadParameter(f"{value!r} is none of {', '.join(_NAMES)}, iommu=4K,2M,1G.")
    try:
        return name, page_sizes(map(size_of, (sizes if equals else _USUAL).split(",")))
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: {error}.") from None


@click.command("plan", epilog=_EXAMPLES)
@click.argument("source", metavar="PID|self|FILE")
@click.option(
    "--device",
    required=True,
    callback=_device,
    metavar="DEVICE",
    help=f"{', '.join(_NAMES)}; the pages of rdma and iommu as in iommu={_USUAL}.",
)
@vma_option("As of map.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(source: str, device: tuple[str, int], wanted: Any, *, as_json: bool) -> None:  # noqa: ANN401
    """Count the cost of giving memory to a device.

    Each VMA of a process is one buffer, made of what is resident in it; a FILE is one that phyr
    dump wrote, or holds one list, as to_bytes of a Phyr or a FrozenPhyr writes it. The figures are
    those of the descriptors and page-table plans that phyr makes, each buffer by itself, beside
    those of as many bytes on 2 MiB pages of which no two lie side by side. Nothing is pinned or
    mapped.
    """
    from phyr.cli.cost import figures, on_huge_pages  # noqa: PLC0415

    name, sizes = device
    with refusing():
        lists = _lists(source, wanted)
        now = figures(name, lists, sizes)
        huge = figures(name, [(0, on_huge_pages(phyr)) for _, phyr in lists], sizes)
    length = sum(phyr.length for _, phyr in lists)
    if as_json:
        import json  # noqa: PLC0415

        report = {
            "version": 1,
            "device": name,
            "buffers": len(lists),
            "bytes": length,
            "now": now,
            "on_huge_pages": huge,
        }
        click.echo(json.dumps(report, indent=2))
        return
    _show(name, lists, now, huge)


def _lists(source: str, wanted: Any) -> "list[tuple[int, Phyr]]":  # noqa: ANN401
    """Read the buffers: of a process, or of a file."""
    from phyr._phyr import FrozenPhyr  # noqa: PLC0415
    from phyr.cli.choose import every, refuse_nothing  # noqa: PLC0415
    from phyr.cli.saved import MAGIC, load  # noqa: PLC0415
    from phyr.cli.scan import Looks, scan  # noqa: PLC0415
    from phyr.cli.source import is_file, pid_of  # noqa: PLC0415

    if is_file(source):
        path = Path(source)
        with path.open("rb") as file:
            is_list = file.read(len(MAGIC)) != MAGIC
        if is_list:
            if wanted is not every:
                raise click.UsageError("--vma is for processes, and this file holds one list.")
            # It reads the bytes of a Phyr as well, and its errors name the file.
            phyr = FrozenPhyr.open(path).thaw()
            return [(0, phyr)] if phyr.length else []
        rows = [row for row in load(path).process.rows if wanted(row.vma)]
    else:
        rows = scan(pid_of(source), Looks(wanted)).rows
    refuse_nothing(rows, wanted)
    lists = [(row.vma.start, row.resident.phyr) for row in rows]
    return [(uaddr, phyr) for uaddr, phyr in lists if phyr.length]


def _show(
    name: str, lists: "list[tuple[int, Phyr]]", now: dict[str, int], huge: dict[str, int]
) -> None:
    from phyr.cli.cost import VFIO_LIMIT  # noqa: PLC0415
    from phyr.cli.report import spell  # noqa: PLC0415

    length = sum(phyr.length for _, phyr in lists)
    chunks = sum(len(phyr.chunks) for _, phyr in lists)
    buffers = "1 buffer" if len(lists) == 1 else f"{len(lists):,} buffers"
    click.echo(f"{buffers} of {spell(length)} in {chunks:,} chunks, for {name}\n")
    click.echo(f"{'':32}{'now':>14}{'on 2 MiB pages':>16}")
    for what in dict.fromkeys([*now, *huge]):
        click.echo(f"{what:32}{now.get(what, 0):>14,}{huge.get(what, 0):>16,}")
    requests = now.get("requests at physical addresses", 0)
    if name == "vfio" and requests > VFIO_LIMIT:
        click.echo(
            f"\n{requests:,} requests are more than the {VFIO_LIMIT:,} that VFIO takes by default"
        )
