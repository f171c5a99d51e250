import unittest

from spread import rows, spread


class Spread(unittest.TestCase):
    def test_numbers_become_mean_and_deviation_of_a_sample(self):
        found = spread([{"a": {"b": 1}, "name": "x"}, {"a": {"b": 2}, "name": "x"}, {"a": {"b": 6}, "name": "x"}])
        self.assertEqual(found.keys(), {"a"})
        self.assertAlmostEqual(found["a"]["b"]["mean"], 3.0)
        self.assertAlmostEqual(found["a"]["b"]["deviation"], 7**0.5)

    def test_rows_have_their_path(self):
        found = dict(rows(spread([{"a": {"b": 1, "c": 2.0}}, {"a": {"b": 1, "c": 4.0}}])))
        self.assertEqual(found["a.b"], {"mean": 1.0, "deviation": 0.0})
        self.assertEqual(found["a.c"]["mean"], 3.0)

    def test_other_shapes_are_refused(self):
        with self.assertRaises(SystemExit):
            spread([{"a": 1}, {"b": 1}])


if __name__ == "__main__":
    unittest.main()
