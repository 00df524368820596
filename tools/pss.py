"""The memory of a server and its descendants: python -m tools.pss PID-OF-THE-MASTER

Pss counts a page that N processes share as one Nth in each of them (proc(5), smaps_rollup). So the sum of Pss over all
processes is the memory that the machine gets back if they end. Rss counts a shared page in full in each process.
"""

import sys

import psutil

MIB = 1 << 20


def main(pid: int) -> None:
    master = psutil.Process(pid)
    total_bytes = 0
    for process in (master, *sorted(master.children(recursive=True), key=lambda child: child.pid)):
        memory = process.memory_full_info()
        total_bytes += memory.pss
        title = " ".join(process.cmdline()).strip()
        print(f"{memory.rss / MIB:8.1f} MiB Rss {memory.pss / MIB:8.1f} MiB Pss  {process.pid:>7}  {title[:60]}")
    print(f"{'':16} {total_bytes / MIB:8.1f} MiB Pss together")


if __name__ == "__main__":
    main(int(sys.argv[1]))
