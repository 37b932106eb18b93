"""The object that ``phyr map --json`` prints: described in docs/command-line.md."""

from collections.abc import Iterable
from typing import TypeAlias

from phyr.cli.report import BUCKETS, STATES, Row, Total
from phyr.cli.scan import Scanned, Skipped
from phyr.pagemap import Folios

__all__ = ["VERSION", "as_json"]

VERSION = 1
"""Goes up when a name goes or changes its meaning; new names may come without."""

Json: TypeAlias = dict[str, object]


def as_json(processes: Iterable[Scanned], skipped: Skipped, *, rollup: bool, chunks: bool) -> Json:
    """Make it; all figures in bytes unless named otherwise.

    Addresses are plain numbers: page aligned, they survive readers that keep 53 bits.
    """
    return {
        "version": VERSION,
        "processes": [_process(process, rollup=rollup, chunks=chunks) for process in processes],
        "skipped": skipped._asdict(),
    }


def _process(process: Scanned, *, rollup: bool, chunks: bool) -> Json:
    total = Total.of(process.rows)
    report: Json = {
        "pid": process.pid,
        "command": process.command,
        "granule": process.granule,
        "device_known": process.device_known,
    }
    if not rollup:
        report["vmas"] = [
            {
                **row.vma._asdict(),
                "size": row.vma.length,
                "states": {state: getattr(row.resident, state) for state in STATES},
                **_figures(row, process.pmd_mapped.get(row.vma.start, (0, 0))),
                **({"chunk_list": _chunks(row)} if chunks else {}),
            }
            for row in process.rows
        ]
    report["total"] = {
        "size": total.size,
        "states": total.states,
        **_figures(total, _pmd_mapped(process)),
        "bio_vec_bytes": total.cost.bio_vec,
        "scatterlist_bytes": total.cost.scatterlist,
    }
    return report


def _pmd_mapped(process: Scanned) -> tuple[int, int]:
    """Add up what is mapped by whole huge pages."""
    both = process.pmd_mapped.values()
    return sum(anon for anon, _ in both), sum(file for _, file in both)


def _figures(row: Row | Total, pmd_mapped: tuple[int, int]) -> Json:
    figures: Json = {
        "chunks": row.chunks,
        "list_bytes": row.cost.phyr,
        "largest_chunk": row.largest,
        "buckets": {name: part for (name, _), part in zip(BUCKETS, row.buckets, strict=True)},
        "orders": {str(order): count for order, count in row.orders.items()},
    }
    if row.nodes is not None:
        figures["nodes"] = {
            "unknown" if node is None else str(node): length for node, length in row.nodes.items()
        }
    if row.folios is not None:
        figures["folios"] = _folios(row.folios, pmd_mapped)
    return figures


def _folios(folios: Folios, pmd_mapped: tuple[int, int]) -> Json:
    return {
        "large": [folio._asdict() for folio in folios.large],
        **{
            name: getattr(folios, name)
            for name in ("anon", "file", "ksm", "zero", "device", "shared")
        },
        "pmd_mapped": {"anon": pmd_mapped[0], "file": pmd_mapped[1]},
        "blocks": [
            {"size": size, "anon": anon, "file": file} for size, anon, file in folios.blocks
        ],
    }


def _chunks(row: Row) -> list[list[int]]:
    """List uaddr, paddr and length of each."""
    found = []
    for uaddr, phyr in row.stretches:
        at = uaddr
        for paddr, length in phyr.chunks:
            found.append([at, paddr, length])
            at += length
    return found
