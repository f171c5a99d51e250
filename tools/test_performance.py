import unittest

from performance import best, measured, table


def row(name: str, ms=None, note: str = "") -> dict:
    return {"name": name, "ms": ms, "per_s": None, "note": note}


PYTORCH = [
    row("denoiser forward eager bf16-autocast b64", 9.0),
    row("denoiser forward eager f32(TF32) b64", 12.0),
    row("denoiser forward compiled bf16-autocast b64", 7.5),
    row("denoiser forward compiled bf16-autocast b256", 6.76),
    row("train step compiled bf16-autocast b256 (with self-cond pass)", 45.0),
    row("train step compiled bf16-autocast b256 (mean of the two: p=0.5)", 39.4),
    row("EMA update (foreach lerp)", 1.2, "n=20"),
    row("peak GPU memory after b256 training", note="8.24 GiB"),
    row("sampling 250 steps compiled bf16-autocast b256", 1641.0),
    row("BART greedy HF generate bf16-weights b256 L64", 246.0),
    row("BART greedy HF generate f32(TF32) b256 L64", 400.0),
    row("BART beam-4 HF generate b256 L64", 3000.0),
    row("texts: sample (compiled bf16-autocast) + greedy decode (bf16-weights)", 1887.0),
    row("torch.compile: forward", note="skipped: 3s left"),
]
OURS = [
    row("denoiser forward bf16 b64", 3.0),
    row("denoiser forward f32 b64", 24.0),
    row("train step bf16 b256 (mean of the two: p=0.5)", 19.7),
    row("EMA update", 0.6),
    row("peak GPU memory after b256 training", note="9.27 GiB reserved, 3.10 GiB in use between steps"),
    row("sampling 250 steps bf16 b256", 820.5),
    row("BART greedy bf16 b256 L64", 123.0),
    row("BART beam-4 bf16 b256 L64", note="FAILED"),
    row("texts: sample + greedy decode bf16", 943.5),
]


class Table(unittest.TestCase):
    def setUp(self):
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table(PYTORCH, OURS).splitlines()[2:]]
        self.rows = {title: rest for title, *rest in cells}

    def test_the_best_way_of_the_same_work_counts(self):
        self.assertEqual(self.rows["denoiser forward, bf16, batch 64"], ["7.50 ms", "compiled bf16-autocast", "3.00 ms", "0.40"])
        self.assertEqual(self.rows["denoiser forward, f32, batch 64"], ["12.00 ms", "eager f32(TF32)", "24.00 ms", "2.00"])
        self.assertEqual(self.rows["sampling, 250 steps, batch 256"], ["1,641 ms", "compiled bf16-autocast", "820 ms", "0.50"])

    def test_every_work_of_both_is_joined(self):
        for title in [
            "train step, p = 0.5, batch 256",
            "running average of the parameters",
            "BART-base greedy, bf16, 64 tokens, batch 256",
            "end to end, sampling and greedy decoding",
        ]:
            self.assertEqual(self.rows[title][-1], "0.50", title)

    def test_memory_is_read_from_the_notes(self):
        self.assertEqual(self.rows["memory of training, batch 256"], ["8.24 GiB", "peak", "9.27 GiB", "1.12"])

    def test_what_one_has_not_measured_has_no_ratio(self):
        self.assertEqual(self.rows["denoiser forward, bf16, batch 256"][-2:], ["-", "-"])
        self.assertEqual(self.rows["BART-base beam 4, 64 tokens, batch 256"][-2:], ["-", "-"])

    def test_batches_are_in_the_order_of_their_size(self):
        batches = [title for title in self.rows if title.startswith("denoiser forward, bf16")]
        self.assertEqual(batches, ["denoiser forward, bf16, batch 64", "denoiser forward, bf16, batch 256"])


class Rows(unittest.TestCase):
    def test_rows_without_a_time_are_no_rows(self):
        self.assertEqual(best("a b(?P<batch>\\d+)", "ms", [row("a b1"), row("a b1", 2.0), row("a b1", 3.0)]), {(("batch", "1"),): (2.0, "")})
        self.assertIsNone(measured(row("a", note="unknown"), "GiB"))


if __name__ == "__main__":
    unittest.main()
