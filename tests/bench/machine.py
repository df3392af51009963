"""What the machine is, and who used its processors meanwhile: as Linux tells it in /proc."""

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
# Fields of the first line of /proc/stat.
IDLE, IO_WAIT, STEAL = 3, 4, 7
# Share of the cores that others may take before figures are called no claim.
OTHERS_SHARE_MAX = 0.03
QUIET_SECONDS = 3.0


@dataclass(frozen=True)
class Processors:
    """Seconds since boot, over all of the machine's cores."""

    at: float
    busy: float
    stolen: float


def processors():
    """What /proc/stat says now."""
    with open("/proc/stat") as stat:
        ticks = [int(field) for field in stat.readline().split()[1:9]]
    stolen = ticks[STEAL] / TICKS
    busy = (sum(ticks) - ticks[IDLE] - ticks[IO_WAIT]) / TICKS - stolen
    return Processors(time.monotonic(), busy, stolen)


def shares(before, after, accounted):
    """Shares of all cores that others took between two readings, `accounted` seconds being known as the benchmark's
    own, and that the hypervisor took."""
    cores = (after.at - before.at) * os.cpu_count()
    return max(0.0, after.busy - before.busy - accounted) / cores, (after.stolen - before.stolen) / cores


def busy_at_rest():
    """Shares of the cores that others and the hypervisor take while the benchmark does nothing."""
    before = processors()
    time.sleep(QUIET_SECONDS)
    return shares(before, processors(), 0.0)


def session_processes(session):
    """Ids of the processes of a session, and the seconds each computed, children that ended included."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # The name, in brackets, may hold anything.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found[int(folder.name)] = sum(int(field) for field in fields[11:15]) / TICKS
    return found


@dataclass(frozen=True)
class Memory:
    """Bytes that processes hold: at most so far, of it anonymous now, and private now."""

    peak: int
    anonymous: int
    private: int


def memory(processes):
    """The memory of some processes together. What they share counts once for each in `peak`."""
    peak = anonymous = private = 0
    for process in processes:
        try:
            status = fields_of(f"/proc/{process}/status")
            rollup = fields_of(f"/proc/{process}/smaps_rollup")
        except OSError:
            continue
        peak += status.get("VmHWM", 0)
        anonymous += status.get("RssAnon", 0)
        private += rollup.get("Private_Clean", 0) + rollup.get("Private_Dirty", 0)
    return Memory(peak, anonymous, private)


def fields_of(path):
    """The fields of a file of /proc that are amounts in kB, as bytes."""
    amounts = {}
    with open(path) as lines:
        for line in lines:
            name, _, value = line.partition(":")
            words = value.split()
            if len(words) == 2 and words[1] == "kB":
                amounts[name] = int(words[0]) * 1024
    return amounts


def description():
    """The machine in words, for the record."""
    cpu = {}
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            cpu.setdefault(name.strip(), value.strip())
    features = ["avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm"]
    has = cpu.get("flags", cpu.get("Features", "")).split()
    return {
        "processor": cpu.get("model name", platform.machine()),
        "family_model": f"{cpu.get('cpu family', '?')}/{cpu.get('model', '?')}",
        "cores": len(os.sched_getaffinity(0)),
        "features": [feature for feature in features if feature in has],
        "memory_bytes": fields_of("/proc/meminfo")["MemTotal"],
        "kernel": f"{platform.system()} {platform.release()}",
        "hypervisor": "hypervisor" in has,
    }
