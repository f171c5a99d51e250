"""A process that does tasks, and what they cost it."""

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Done:
    ids: list[list[int]]
    seconds: float
    """Processor time of all threads."""
    cpu_seconds: float


class Process:
    def __init__(self, command: list[str | Path], threads: int, wait: str):
        environment = os.environ | {
            "RAYON_NUM_THREADS": str(threads),
            "OMP_NUM_THREADS": str(threads),
            "OMP_WAIT_POLICY": wait.upper(),
            "HF_HUB_OFFLINE": "1",
        }
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def do(self, task: str, **settings) -> Done:
        start, cpu_start = time.perf_counter(), self._cpu_seconds()
        self.process.stdin.write(json.dumps({"task": task, **settings}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.process.args[0]} gave up on the task {task}")
        seconds, cpu_seconds = time.perf_counter() - start, self._cpu_seconds() - cpu_start
        return Done(json.loads(answer)["ids"], seconds, cpu_seconds)

    def peak_memory(self) -> int:
        """Bytes in memory at most so far, with the pages of mapped files."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def _cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
