"""Python's locks between processes, measured by themselves: see guest.rs for what is said and answered."""

import multiprocessing
import sys
import time

directory = sys.argv[1]
peers = []


def with_statement(lock):
    def run(n):
        start = time.perf_counter_ns()
        for _ in range(n):
            with lock:
                pass
        return time.perf_counter_ns() - start

    return run


peers.append(("Python multiprocessing.Lock", with_statement(multiprocessing.Lock())))
try:
    import filelock

    peers.append((f"Python filelock {filelock.__version__}", with_statement(filelock.FileLock(f"{directory}/filelock"))))
except ImportError as e:
    print(f"-Python filelock:{e}")

for name, _ in peers:
    print(f"+{name}")
print(".", flush=True)
for line in sys.stdin:
    which, n = line.split()
    print(peers[int(which)][1](int(n)), flush=True)
