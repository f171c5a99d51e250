"""Times the language models of this repository and of transformers side by side, on the CPU, in f32.

See README.md. Linux only: processor time and memory are read from /proc.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy
from safetensors.numpy import load_file, save_file

import models
from worker import Done, Process

SEED = 0
TEXTS, LENGTH = 64, 64
DECODED = 16
# Texts, longest source and target of the comparison of outputs.
PADDED, TARGET = 8, 24

# A random model runs the whole length, since no text may end before it.
GREEDY = ({"decoding": "greedy"}, {"num_beams": 1, "do_sample": False})
BEAM = (
    {"decoding": {"beam": {"beams": 4, "length_penalty": 1.0, "early_stopping": "heuristic"}}},
    {"num_beams": 4, "do_sample": False, "length_penalty": 1.0, "early_stopping": False},
)
DECODINGS = {"greedy": GREEDY, "beam": BEAM}
TASKS = ["encode", *DECODINGS]


def write_inputs(file: Path, vocabulary: int, pad: int) -> None:
    """Random ids, above those of special tokens, and masks that hide the ends of some texts."""
    generator = numpy.random.default_rng(SEED)
    ids = generator.integers(10, vocabulary, (TEXTS, LENGTH))
    lengths = generator.integers(1, LENGTH + 1, PADDED)
    lengths[0] = LENGTH
    mask = (numpy.arange(LENGTH) < lengths[:, None]).astype(numpy.int64)
    save_file(
        {
            "ids": ids,
            "padded_ids": numpy.where(mask == 1, ids[:PADDED], pad),
            "mask": mask,
            "decoder_ids": generator.integers(10, vocabulary, (PADDED, TARGET)),
        },
        file,
    )


class Comparison:
    """One model on both sides; `sides` are their commands, ours first."""

    def __init__(self, sides: list[list], arguments: argparse.Namespace, folder: Path, scratch: Path):
        self.commands = sides
        self.threads = arguments.threads
        self.wait = arguments.wait
        self.folder = folder
        self.scratch = scratch

    def start(self, side: int) -> Process:
        return Process(self.commands[side], self.threads, self.wait)

    def loading(self, repeats: int) -> None:
        """Each time in a process of its own; the first round only warms the file's pages up."""
        done, peaks = ([], []), ([], [])
        for repeat in range(repeats + 1):
            for side in range(2):
                with self.start(side) as process:
                    load = process.do("load")
                    if repeat:
                        done[side].append(load)
                        peaks[side].append(process.peak_memory())
        report("load", done)
        size = models.weights_size(self.folder)
        ours, theirs = (min(peak) / size for peak in peaks)
        print(f"  peak memory while loading, in sizes of the weights: {ours:.2f} against {theirs:.2f}")

    def working(self, tasks: list[str], repeats: int) -> None:
        with self.start(0) as ours, self.start(1) as theirs:
            sides = (ours, theirs)
            for process in sides:
                process.do("load")
                process.do("encode")
            self.outputs(sides)
            for task in tasks:
                self.task(task, sides, repeats)
            peaks = [process.peak_memory() / models.weights_size(self.folder) for process in sides]
            print(f"  peak memory after all, in sizes of the weights: {peaks[0]:.2f} against {peaks[1]:.2f}")

    def outputs(self, sides: tuple[Process, Process]) -> None:
        files = [self.scratch / f"outputs{side}.safetensors" for side in range(2)]
        for process, file in zip(sides, files):
            process.do("outputs", file=str(file))
        ours, theirs = (load_file(file) for file in files)
        for name in ("states", "logits"):
            scale = numpy.abs(theirs[name]).max()
            difference = numpy.abs(ours[name] - theirs[name]).max()
            print(f"  {name}: largest difference {difference:.1e}, at a scale of {scale:.3g}: {difference / scale:.1e}")

    def task(self, task: str, sides: tuple[Process, Process], repeats: int) -> None:
        done = ([], [])
        for repeat in range(repeats):
            # In turns, so that what else the machine does falls on both.
            for side in (0, 1) if repeat % 2 else (1, 0):
                done[side].append(self.do(task, side, sides[side]))
        report(task, done)
        if task in DECODINGS:
            equal = sum(ours == theirs for ours, theirs in zip(done[0][0].ids, done[1][0].ids))
            print(f"  {task}: {equal} of {DECODED} texts are equal")

    def do(self, task: str, side: int, process: Process) -> Done:
        if task not in DECODINGS:
            return process.do(task)
        lengths = {"max_length": LENGTH, "min_length": LENGTH}
        return process.do("generate", texts=DECODED, config=lengths | DECODINGS[task][side])


def report(task: str, done: tuple[list[Done], list[Done]]) -> None:
    """The least of each figure is what disturbs it least."""
    seconds = [min(one.seconds for one in side) for side in done]
    middle = [statistics.median(one.seconds for one in side) for side in done]
    cpu = [min(one.cpu_seconds for one in side) for side in done]
    print(
        f"  {task:8} seconds {seconds[0]:7.3f} against {seconds[1]:7.3f}: {seconds[0] / seconds[1]:5.2f}"
        f"   median {middle[0] / middle[1]:5.2f}   processor time {cpu[0]:6.2f} against {cpu[1]:6.2f}:"
        f" {cpu[0] / max(cpu[1], 0.01):5.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", type=Path, required=True, help="the compiled bench language_model_worker")
    parser.add_argument("--work", type=Path, required=True, help="folder for the models; they are made once")
    parser.add_argument("--models", nargs="+", choices=models.CONFIGS, default=list(models.CONFIGS))
    parser.add_argument("--tasks", nargs="*", choices=["load", *TASKS], default=["load", *TASKS])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--wait", choices=["passive", "active"], default="passive", help="how threads of PyTorch wait")
    arguments = parser.parse_args()

    print("ours against transformers, least of the repeats")
    for name in arguments.models:
        folder = arguments.work / name
        models.make(name, folder, SEED)
        print(f"{name}, weights of {models.weights_size(folder) / 1e6:.0f} MB", flush=True)
        with tempfile.TemporaryDirectory(dir=arguments.work) as scratch:
            compare(name, folder, Path(scratch), arguments)


def compare(name: str, folder: Path, scratch: Path, arguments: argparse.Namespace) -> None:
    inputs = scratch / "inputs.safetensors"
    config = models.CONFIGS[name]
    write_inputs(inputs, config["vocab_size"], config["pad_token_id"])
    theirs = Path(__file__).with_name("transformers_worker.py")
    sides = [
        [arguments.worker, folder, inputs],
        [sys.executable, theirs, folder, inputs, arguments.threads],
    ]
    comparison = Comparison(sides, arguments, folder, scratch)
    if "load" in arguments.tasks:
        comparison.loading(arguments.repeats)
    comparison.working([task for task in arguments.tasks if task != "load"], arguments.repeats)


if __name__ == "__main__":
    main()
