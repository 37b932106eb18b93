"""Reading processes for the command line: VMA by VMA, with a bar, those that vanish left out."""

from phyr._named import Iterable, NamedTuple
from phyr.cli.bar import LateBar
from phyr.cli.choose import Chosen, Wanted, choose, command_of, refuse_nothing
from phyr.cli.report import Row
from phyr.errors import HiddenPagesError, ProcessGoneError
from phyr.pagemap.page_flags import Scan
from phyr.pagemap.proc import Pid
from phyr.pagemap.process import Pagemap

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from typing import Any

    from phyr._phyr import Phyr
    from phyr.cli.nodes import Nodes

__all__ = ["Looks", "Scanned", "Skipped", "read_asked", "rows_of", "scan", "scan_all"]


class Looks(NamedTuple):
    """How closely to look."""

    wanted: Wanted
    folios: Scan | None = None
    nodes: "Nodes | None" = None
    stretches: bool = False
    """Keep where in virtual memory each chunk is."""


class Scanned(NamedTuple):
    """One process, read."""

    pid: Pid
    command: str
    granule: int
    device_known: bool
    """False if device memory could not be told from RAM."""
    rows: list[Row]
    pmd_mapped: dict[int, tuple[int, int]]
    """Bytes mapped by whole huge pages, anonymous and of files, by start of VMA."""


class Skipped(NamedTuple):
    """Processes that were left out."""

    gone: int = 0
    hidden: int = 0

    def spelt(self) -> str:
        """Name them.

        Examples:
            >>> Skipped(2, 1).spelt()
            '3 processes left out: 2 have no memory or ended, 1 may not be looked into'
        """
        parts = (
            (self.gone, "have no memory or ended" if self.gone > 1 else "has no memory or ended"),
            (self.hidden, "may not be looked into"),
        )
        named = [f"{count} {words}" for count, words in parts if count]
        count = self.gone + self.hidden
        return f"{count} process{'es' * (count > 1)} left out: {', '.join(named)}"


def scan(pid: Pid, looks: Looks) -> Scanned:
    """Read one process.

    Raises:
        ProcessGoneError: It is not there, or has no memory.
        HiddenPagesError: It may not be looked into.
    """
    with Pagemap(pid) as pagemap:
        vmas = [vma for vma in pagemap.vmas() if looks.wanted(vma)]
        rows = []
        with LateBar(sum(vma.length for vma in vmas)) as bar:
            for vma in vmas:
                stretches: list[tuple[int, Phyr]] | None = [] if looks.stretches else None
                resident = pagemap.resident(
                    vma.start,
                    vma.length,
                    progress=bar.reach,
                    scan=looks.folios,
                    stretches=stretches,
                )
                folios = looks.folios.finish() if looks.folios else None
                nodes = looks.nodes.split(resident.phyr) if looks.nodes else None
                rows.append(Row.of(vma, resident, folios, nodes, stretches or ()))
                bar.leave(vma.length)
        has_large = any(
            row.folios.large_bytes(origin="thp", shape="aligned") for row in rows if row.folios
        )
        pmd_mapped = pagemap.pmd_mapped() if has_large else {}
        return Scanned(
            pid, command_of(pid), pagemap.granule, pagemap.ram is not None, rows, pmd_mapped
        )


def scan_all(chosen: Chosen, looks: Looks) -> tuple[list[Scanned], Skipped]:
    """Read several processes.

    Those that cannot be read are counted, unless they were asked for by number.

    Raises:
        HiddenPagesError: None at all may be looked into.
        PhyrError: None has a VMA that is wanted.
    """
    found: list[Scanned] = []
    gone = hidden = 0
    why: Exception | None = None
    for pid in chosen.pids:
        try:
            found.append(scan(pid, looks))
        except ProcessGoneError:
            if pid in chosen.named:
                raise
            gone += 1
        except HiddenPagesError as error:
            if pid in chosen.named:
                raise
            hidden += 1
            why = error
        if looks.folios is not None:
            looks.folios.finish()
    if not found and why is not None:
        raise why
    if found:
        refuse_nothing(rows_of(found), looks.wanted)
    return found, Skipped(gone, hidden)


def read_asked(options: "dict[str, Any]") -> tuple[list[Scanned], Skipped, Looks]:
    """Read what the options of ``phyr map`` ask for."""
    nodes = None
    if options["numa"]:
        from phyr.cli.nodes import Nodes  # noqa: PLC0415 - only where they are asked for

        nodes = Nodes.of_system()
    looks = Looks(
        options["wanted"],
        Scan(options["cont"]) if options["folios"] else None,
        nodes,
        bool(options["chunks"] or options["arrow"] or options["parquet"]),
    )
    chosen = choose(options["pids"], options["cgroups"], options["names"])
    return *scan_all(chosen, looks), looks


def rows_of(scanned: Iterable[Scanned]) -> list[Row]:
    """Give the rows of all processes."""
    return [row for process in scanned for row in process.rows]
