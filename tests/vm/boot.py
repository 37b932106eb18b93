"""Run a command in a throw-away QEMU guest: a real kernel, IOMMU driver, and devices that do DMA.

    tests/vm/run [options] -- COMMAND [ARG...]

The guest sees this machine's files (a copy on write in memory: nothing it writes comes back, except
under --share), runs COMMAND as root in the current folder, and powers off.  The exit status is the
command's; 124 says that the time ran out, 125 that the guest never finished the command, 126 that
QEMU itself was ended by a signal.
"""

import argparse
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import BinaryIO

from kernel import KERNELS, Kernel, find_kernel, install, need

HERE = Path(__file__).resolve().parent
APPLETS = ["sh", "mount", "mkdir", "insmod", "cat", "ln", "chroot", "sync", "poweroff", "ip"]
# QEMU's arguments, and the kernel's.
IOMMUS = {
    "intel": (["-device", "intel-iommu,intremap=on,caching-mode=on"], "intel_iommu=on"),
    "amd": (["-device", "amd-iommu,intremap=on"], "amd_iommu=on"),
    "virtio": (["-device", "virtio-iommu-pci"], ""),
    "none": ([], "intel_iommu=off amd_iommu=off"),
}
# Variables that the command finds in its environment, as they are here.
KEPT = ["PATH", "HOME", "LANG", "VIRTUAL_ENV", "PYTHONPATH", "PYENV_ROOT", "PYENV_VERSION"]
QUIET = [
    "console=ttyS0 quiet loglevel=5 panic=-1 nokaslr mitigations=off audit=0",
    "cryptomgr.notests no_timer_check random.trust_cpu=on tsc=reliable",
    "vfio_iommu_type1.allow_unsafe_interrupts=1 iommufd.allow_unsafe_interrupts=1",
    "vfio.enable_unsafe_noiommu_mode=1",
]


def newc(entries: list[tuple[str, int, bytes]]) -> bytes:
    """Return a cpio archive, as the kernel wants it, of names, modes and contents."""
    out = bytearray()
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        raw = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + raw
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def initramfs(kernel: Kernel) -> bytes:
    """Return the first files of the guest: busybox, `init` and the kernel's modules."""
    path = Path(need("busybox", "busybox-static"))
    if b"ld-linux" in path.read_bytes()[:4096]:
        # The package "busybox" needs libraries, which the first files are without.
        install("busybox-static")
    busybox = path.read_bytes()
    folders = ["bin", "dev", "proc", "sys", "modules"]
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in folders]
    entries.append(("bin/busybox", stat.S_IFREG | 0o755, busybox))
    entries += [("bin/" + name, stat.S_IFLNK | 0o777, b"busybox") for name in APPLETS]
    entries.append(("init", stat.S_IFREG | 0o755, (HERE / "init").read_bytes()))
    if kernel.folder:
        for path in sorted(kernel.folder.iterdir()):
            if path.name == "order" or path.suffix == ".ko":
                entries.append((f"modules/{path.name}", stat.S_IFREG | 0o644, path.read_bytes()))
    return newc(entries)


def copy(source: int, target: BinaryIO) -> None:
    """Copy what comes out of a pipe until its end."""
    with os.fdopen(source, "rb", 0) as file:
        while data := file.read(65536):
            target.write(data)
            target.flush()


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="tests/vm/run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--kernel",
        default=os.environ.get("PHYR_VM_KERNEL", "iommufd"),
        help=f"one of {', '.join(KERNELS)} (default: %(default)s)",
    )
    add("--iommu", choices=sorted(IOMMUS), default="intel")
    add(
        "--accel",
        choices=["tcg", "kvm"],
        default=os.environ.get("PHYR_VM_ACCEL", "tcg"),
        help="emulate (the default: works everywhere), or use KVM",
    )
    add("--timeout", type=float, default=300, help="seconds, boot included")
    add("--memory", default="1G")
    add("--cpus", default="2")
    add("--cpu", default="Nehalem", help="QEMU's -cpu under emulation")
    add("--hugepages", type=int, default=16, help="2 MiB pages set aside at boot")
    add("--edu-bits", type=int, default=64, help="address width of the edu device")
    add("--nvme", metavar="FILE", help="raw image of the NVMe drive (default: 64 MiB of zeros)")
    add("--share", metavar="DIR", help="folder the guest may write, at the same path")
    add("--env", metavar="NAME[=VALUE]", action="append", default=[])
    add("--append", default="", help="more kernel arguments")
    add("--qemu-arg", action="append", default=[], help="one more argument for QEMU")
    add("--console", metavar="FILE", help="keep the kernel's console here")
    add("--times", action="store_true", help="print what it took, to stderr")
    add("command", nargs=argparse.REMAINDER)
    args = parser.parse_args(arguments)
    if args.command[:1] == ["--"]:
        del args.command[0]
    if not args.command:
        parser.error("no command")
    return args


def script(args: argparse.Namespace, kernel: Kernel) -> str:
    """Return what the guest's shell runs."""
    keep = {name: os.environ[name] for name in KEPT if name in os.environ}
    keep |= {"PYTHONDONTWRITEBYTECODE": "1", "PHYR_VM": args.iommu, "PHYR_VM_KERNEL": kernel.name}
    for item in args.env:
        name, has, value = item.partition("=")
        keep[name] = value if has else os.environ.get(name, "")
    lines = [f"export {name}={shlex.quote(value)}" for name, value in keep.items()]
    lines.append(f"cd {shlex.quote(str(Path.cwd()))} || exit 125")
    lines.append("exec " + shlex.join(args.command))
    return "\n".join(lines) + "\n"


def machine(
    args: argparse.Namespace, kernel: Kernel, work: Path, pipes: dict[str, int]
) -> list[str]:
    """Return the command that starts QEMU; `pipes` are where the command's output goes."""
    kvm = args.accel == "kvm"
    iommu, kernel_args = IOMMUS[args.iommu]
    disk = args.nvme
    if not disk:
        disk = work / "nvme.raw"
        disk.touch()
        os.truncate(disk, 64 << 20)
    more = [f"hugepages={args.hugepages}", kernel_args, args.append]
    if not kvm:
        # An emulated time stamp counter is the host's, which may differ from core to core.
        more.append("clocksource=hpet")
    arguments = [need("qemu-system-x86_64", "qemu-system-x86")]
    arguments += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    arguments += ["-machine", "q35,kernel-irqchip=split" if kvm else "q35"]
    arguments += ["-accel", "kvm" if kvm else "tcg,thread=multi"]
    arguments += ["-cpu", "host" if kvm else args.cpu, "-smp", args.cpus, "-m", args.memory]
    arguments += ["-kernel", str(kernel.image), "-initrd", str(work / "initrd")]
    arguments += ["-append", " ".join([*QUIET, *more])]
    arguments += ["-serial", f"file:{args.console or work / 'console'}"]
    arguments += iommu
    arguments += ["-drive", f"if=none,id=disk,format=raw,cache=unsafe,file={disk}"]
    arguments += ["-device", "nvme,drive=disk,serial=phyr,addr=04,cmb_size_mb=1"]
    # On a bus of its own, which can be reset.
    arguments += ["-device", "pcie-root-port,id=rp1,chassis=1,addr=07,x-speed=2_5"]
    arguments += ["-device", "virtio-rng-pci,bus=rp1,iommu_platform=on,disable-legacy=on"]
    arguments += ["-device", f"edu,addr=05,dma_mask={(1 << args.edu_bits) - 1:#x}"]
    # For the kernel, and one behind the IOMMU for the example.
    rng = "virtio-rng-pci,addr=06,iommu_platform=on,disable-legacy=on"
    arguments += ["-device", "virtio-rng-pci", "-device", rng, "-device", "virtio-serial-pci"]
    for number, (name, fd) in enumerate(pipes.items()):
        arguments += ["-add-fd", f"fd={fd},set={number}"]
        arguments += ["-chardev", f"file,id={name},append=on,path=/dev/fdset/{number}"]
        arguments += ["-device", f"virtserialport,chardev={name},name=phyr.{name}"]
    folders = [("root", "/", ",readonly=on"), ("ctl", str(work / "ctl"), "")]
    if args.share:
        share = str(Path(args.share).resolve())
        folders.append(("share", share, ""))
        (work / "ctl" / "share").write_text(share)
    for name, path, readonly in folders:
        how = f"security_model=none,multidevs=remap{readonly}"
        arguments += ["-fsdev", f"local,id={name},path={path},{how}"]
        arguments += ["-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}"]
    return [*arguments, *args.qemu_arg]


class Guest:
    """QEMU at work: its output is passed on while it runs."""

    def __init__(self, args: argparse.Namespace, kernel: Kernel, work: Path) -> None:
        (work / "ctl").mkdir()
        (work / "ctl" / "command").write_text(script(args, kernel))
        (work / "initrd").write_bytes(initramfs(kernel))
        self.work = work
        self.late = threading.Event()
        pipes = {name: os.pipe() for name in ("out", "err")}
        writes = {name: write for name, (_, write) in pipes.items()}
        command = machine(args, kernel, work, writes)
        self.began = time.time()
        with (work / "qemu").open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=list(writes.values()),
            )
        for write in writes.values():
            os.close(write)
        self.threads = [
            threading.Thread(target=copy, args=(pipes["out"][0], sys.stdout.buffer)),
            threading.Thread(target=copy, args=(pipes["err"][0], sys.stderr.buffer)),
        ]

    def stop(self) -> None:
        """End it for being late."""
        self.late.set()
        self.process.kill()

    def wait(self, timeout: float) -> float:
        """Wait for its end, keep its exit status, and return the seconds of CPU it took."""
        for thread in self.threads:
            thread.start()
        timer = threading.Timer(timeout, self.stop)
        timer.start()
        try:
            _, status, usage = os.wait4(self.process.pid, 0)
            self.process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            timer.cancel()
        for thread in self.threads:
            thread.join()
        return usage.ru_utime + usage.ru_stime


def text(path: Path) -> str:
    """Return what is in a file, or nothing."""
    return path.read_text(errors="replace") if path.exists() else ""


def boot(args: argparse.Namespace, kernel: Kernel, work: Path) -> int:
    """Run the command in a guest and return its exit status."""
    guest = Guest(args, kernel, work)
    busy = guest.wait(args.timeout)
    if args.times:
        started = work / "ctl" / "started"
        boot_s = started.stat().st_mtime - guest.began if started.exists() else float("nan")
        print(
            f"vm: kernel {kernel.name}, iommu {args.iommu}: {boot_s:.1f} s to the command, "
            f"{time.time() - guest.began:.1f} s in all, {busy:.1f} s of CPU",
            file=sys.stderr,
        )
    status = re.match(r"\d+", text(work / "ctl" / "status"))
    if status:
        return int(status[0])
    ended = guest.process.returncode
    if guest.late.is_set():
        exit_status, why = 124, "the guest ran out of time"
    elif ended < 0:
        exit_status, why = 126, f"QEMU was ended by {signal.Signals(-ended).name}"
    else:
        exit_status, why = 125, f"the guest did not finish the command (QEMU's status {ended})"
    console = Path(args.console or work / "console")
    print(
        f"vm: {why}; the end of its console:\n{text(console)[-3000:]}\n"
        f"and of QEMU's own words:\n{text(work / 'qemu')[-1000:]}",
        file=sys.stderr,
    )
    return exit_status


def main(arguments: list[str]) -> int:
    """Do what the command line says."""
    args = parse(arguments)
    kernel = find_kernel(args.kernel)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = Path(tempfile.mkdtemp(prefix="phyr-vm."))
    try:
        return boot(args, kernel, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
