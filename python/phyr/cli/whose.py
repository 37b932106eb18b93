"""``phyr whose``: which process holds a physical address, in which VMA, and where in it."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import click

from phyr.cli.choose import Chosen, command_of, range_of, running, take_pids
from phyr.cli.common import read_by, refusing, warn
from phyr.cli.escape import escaped
from phyr.errors import HiddenPagesError, ProcessGoneError
from phyr.pagemap.proc import Pid, Vma
from phyr.pagemap.process import Pagemap

__all__ = ["whose"]

_EXAMPLES = """\b
Examples:
  phyr whose 0x12345000
  phyr whose 0x12345000+0x200000 --pid 4242
  phyr whose 4886718464 --json"""


class Range(NamedTuple):
    """Physical addresses that are asked for."""

    paddr: int
    length: int


class Place(NamedTuple):
    """A stretch of a process's memory that holds addresses asked for."""

    paddr: int
    length: int
    pid: int
    command: str
    vma: Vma
    uaddr: int


def _ranges(texts: Sequence[str]) -> list[Range]:
    return [Range(start, end - start) for start, end in map(range_of, texts)]


@click.command("whose", epilog=_EXAMPLES)
@click.argument(
    "addresses", nargs=-1, required=True, metavar="ADDRESS...", callback=read_by(_ranges)
)
@click.option("--pid", "pids", multiple=True, callback=read_by(take_pids), help="Look only there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def whose(*, addresses: list[Range], pids: list[Pid], as_json: bool) -> None:
    """Show which process holds a physical address, in which VMA, and where in it.

    An address is a number, hexadecimal or decimal, or a range 0xBASE+0xLENGTH or 0xSTART-0xEND.
    Without --pid, all processes are read that may be. Memory of the kernel's own, and free memory,
    is no process's.
    """
    with refusing():
        chosen = Chosen(pids or running(), pids)
        places, left_out = _search(chosen, addresses)
    if as_json:
        _print_json(addresses, places, left_out)
    else:
        _print_lines(addresses, places)
    if left_out:
        count = len(left_out)
        warn(
            f"{count} process{'es' * (count > 1)} left out: they have no memory or ended, or may"
            " not be looked into"
        )


def _search(chosen: Chosen, ranges: list[Range]) -> tuple[list[Place], list[Pid]]:
    """Look through processes, one after the other; the second list could not be read.

    Each list of memory is walked once and dropped, so no index of all of them has to be made.

    Raises:
        ProcessGoneError: A process that was named is not there, or has no memory.
        HiddenPagesError: No process at all may be looked into, or one that was named.
    """
    places: list[Place] = []
    left_out: list[Pid] = []
    why: Exception | None = None
    seen = False
    for pid in chosen.pids:
        try:
            places += _places(pid, ranges)
            seen = True
        except (ProcessGoneError, HiddenPagesError) as error:
            if pid in chosen.named:
                raise
            left_out.append(pid)
            why = error if isinstance(error, HiddenPagesError) else why
    if why is not None and not seen:
        raise why
    return sorted(places, key=lambda place: (place.paddr, place.pid, place.uaddr)), left_out


def _places(pid: Pid, ranges: list[Range]) -> list[Place]:
    """Find what one process holds of some ranges."""
    found: list[Place] = []
    with Pagemap(pid) as pagemap:
        for vma in pagemap.vmas():
            for uaddr, phyr in pagemap.present(vma.start, vma.length):
                for paddr, length in ranges:
                    for position, part in phyr.within(paddr, length):
                        number = os.getpid() if pid == "self" else pid
                        at = uaddr + position
                        found.append(
                            Place(part.paddr, part.length, number, command_of(pid), vma, at)
                        )
    return found


def _print_lines(ranges: list[Range], places: list[Place]) -> None:
    for paddr, length in ranges:
        ours = [
            place
            for place in places
            if place.paddr < paddr + length and paddr < place.paddr + place.length
        ]
        if not ours:
            click.echo(f"{paddr:#x}+{length:#x} is of no process that was read")
        for place in ours:
            name = escaped(place.vma.name) or "(anonymous)"
            click.echo(
                f"{place.paddr:#x}+{place.length:#x} is of process {place.pid} "
                f"({escaped(place.command)}) at {place.uaddr:#x}: "
                f"{name}, {place.vma.start:#x}+{place.vma.length:#x}, "
                f"byte {place.uaddr - place.vma.start:#x}"
            )


def _print_json(ranges: list[Range], places: list[Place], left_out: list[Pid]) -> None:
    import json  # noqa: PLC0415 - only where it is asked for

    report = {
        "version": 1,
        "ranges": [one._asdict() for one in ranges],
        "places": [
            {
                "paddr": place.paddr,
                "length": place.length,
                "pid": place.pid,
                "command": place.command,
                "uaddr": place.uaddr,
                "vma": {
                    "start": place.vma.start,
                    "length": place.vma.length,
                    "name": place.vma.name,
                },
                "offset": place.uaddr - place.vma.start,
            }
            for place in places
        ],
        "left_out": left_out,
    }
    click.echo(json.dumps(report, indent=2))
