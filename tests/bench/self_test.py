"""Checks the benchmark's own arithmetic and parsing: `tests/bench/run.sh --self-test`. Needs nothing but Python."""

import json
import os
import sys
import unittest

import load
import machine
import report
from shape import BF16, Q8_0, Cell, Roofline, Shape, decode_seconds, limit, prefill_seconds

ROOFLINE = Roofline(bf16_operations=0.89e12, int8_operations=1.95e12, read_bytes=40e9)


class Limits(unittest.TestCase):
    def test_the_model_has_473_million_weights(self):
        self.assertEqual(Shape().weights(), 473_169_920)
        self.assertEqual(Shape().kv_bytes(), 114_688)

    def test_one_sequence_is_bound_by_reading_weights(self):
        seconds = decode_seconds(Shape(), ROOFLINE, BF16, Cell(128, 1), keys=0)
        self.assertAlmostEqual(seconds, 2 * 473_169_920 / 40e9)

    def test_many_sequences_are_bound_by_operations_where_kv_is_small(self):
        roofline = Roofline(bf16_operations=1e12, int8_operations=2e12, read_bytes=1e15)
        seconds = decode_seconds(Shape(), roofline, BF16, Cell(128, 16), keys=0)
        self.assertAlmostEqual(seconds, 16 * 2 * 473_169_920 / 1e12)

    def test_prefill_counts_every_pair_of_tokens_once(self):
        shape = Shape(layers=1, hidden=1, heads=1, kv_heads=1, head_dim=1, ffn=0, vocab=0)
        roofline = Roofline(bf16_operations=1.0, int8_operations=1.0, read_bytes=1.0)
        # Four weights: queries, keys, values, output. Three tokens see one, two and three.
        self.assertAlmostEqual(prefill_seconds(shape, roofline, BF16, Cell(3, 1)), 2 * 4 * 3 + 4 * (1 + 2 + 3))

    def test_limits_agree_with_those_worked_out_by_hand(self):
        # With 40 GB/s and 0.89 TFLOP/s, as worked out when the targets were set.
        by_hand = {(128, 1): 39, (128, 8): 186, (128, 16): 255, (512, 1): 31, (512, 8): 78, (512, 16): 87}
        for (prompt, concurrency), wanted in by_hand.items():
            found = limit(Shape(), ROOFLINE, BF16, Cell(prompt, concurrency), 64)
            self.assertAlmostEqual(found / wanted, 1.0, delta=0.035, msg=f"{prompt} {concurrency}: {found}")

    def test_fewer_bits_raise_the_limit(self):
        for cell in (Cell(128, 1), Cell(512, 16)):
            self.assertGreater(limit(Shape(), ROOFLINE, Q8_0, cell, 64), 1.5 * limit(Shape(), ROOFLINE, BF16, cell, 64))


def answer_of(events, chunks):
    """An HTTP answer with these events, in chunks of so many bytes."""
    body = b"".join(b"data: " + event + b"\n\n" for event in events)
    parts = [body[at : at + chunks] for at in range(0, len(body), chunks)] + [b""]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)


class Answers(unittest.TestCase):
    EVENTS = [json.dumps({"choices": [{"text": f"w{n}"}]}).encode() for n in range(3)]
    USAGE = b'{"choices":[],"usage":{"completion_tokens":3}}'

    def read(self, received, arrivals):
        stream = load.Stream.__new__(load.Stream)
        stream.received = bytearray(received)
        stream.ends, stream.times = zip(*arrivals)
        return stream.answer()

    def test_events_are_found_however_they_are_chunked(self):
        for chunks in (1, 7, 64, 4096):
            found = [data for data, _ in load.events_of(answer_of([*self.EVENTS, self.USAGE, b"[DONE]"], chunks))]
            self.assertEqual(found, [*self.EVENTS, self.USAGE], f"chunks of {chunks}")

    def test_a_token_came_with_the_bytes_that_complete_it(self):
        received = answer_of([*self.EVENTS, self.USAGE, b"[DONE]"], 4096)
        first = received.index(b"w0") + 1
        third = received.index(b"w2") + 1
        arrivals = [(first, 1.0), (third, 2.0), (len(received), 3.0)]
        self.assertEqual(self.read(received, arrivals).tokens, 3)
        # All of it is one chunk, and so came when the chunk was whole.
        self.assertEqual(self.read(received, arrivals).first, 3.0)
        small = answer_of([*self.EVENTS, self.USAGE, b"[DONE]"], len(self.EVENTS[0]) + len(b"data: \n\n"))
        after = small.index(b"w1")
        self.assertEqual(self.read(small, [(after, 1.0), (len(small), 2.0)]).first, 1.0)

    def test_a_refusal_is_an_error(self):
        with self.assertRaisesRegex(load.LoadFailed, "503"):
            list(load.events_of(b"HTTP/1.1 503 Service Unavailable\r\n\r\nno"))

    def test_an_answer_cut_short_is_an_error(self):
        received = answer_of(self.EVENTS, 64)[:150]
        with self.assertRaises(load.LoadFailed):
            self.read(received, [(len(received), 1.0)])

    def test_the_wave_ends_with_its_last_token(self):
        answers = [load.Answer(first=1.0, last=2.0, tokens=11), load.Answer(first=2.0, last=4.0, tokens=11)]
        wave = load.summary(answers, 11, own_cpu=0.0)
        self.assertEqual((wave.seconds, wave.tokens_per_second, wave.first_token), (4.0, 5.5, 1.5))
        self.assertAlmostEqual(wave.per_token, 0.15)

    def test_an_answer_of_another_length_is_an_error(self):
        with self.assertRaisesRegex(load.LoadFailed, "10 tokens in an answer instead of 11"):
            load.summary([load.Answer(1.0, 2.0, 10)], 11, own_cpu=0.0)


def result_of(speeds):
    """A result in which each server's rounds have waves of these speeds."""
    cells = lambda speeds: {"P128 C8": {"waves": [{"tokens_per_second": speed} for speed in speeds]}}
    waves = lambda rounds: [{"round": number, "cells": cells(each)} for number, each in enumerate(rounds) if each]
    return {"servers": {server: {"rounds": waves(rounds)} for server, rounds in speeds.items()}, "roofline": None}


class Figures(unittest.TestCase):
    CELL = Cell(128, 8)

    def test_a_ratio_is_the_median_of_the_rounds_ratios(self):
        # The machine was half as fast in the second round, for both.
        result = result_of({report.OURS: [[100, 120, 110], [50, 55, 60], [115]], report.VLLM: [[100], [50], [100]]})
        self.assertAlmostEqual(report.ratio(result, report.OURS, report.VLLM, self.CELL), 1.1)

    def test_a_round_that_one_side_missed_is_in_no_ratio(self):
        result = result_of({report.OURS: [[], [100]], report.VLLM: [[10], [50]]})
        self.assertAlmostEqual(report.ratio(result, report.OURS, report.VLLM, self.CELL), 2.0)

    def test_a_missing_peer_has_no_ratio(self):
        result = result_of({report.OURS: [[100]], report.VLLM: []})
        self.assertIsNone(report.ratio(result, report.OURS, report.VLLM, self.CELL))
        self.assertIsNone(report.ratio(result, report.OURS, report.LLAMA, self.CELL))
        self.assertEqual(report.targets(result_of({}), [self.CELL]), [])

    def test_a_share_is_of_what_the_cores_did_after_the_wave(self):
        slow = {"bf16_gflops": 100.0, "int8_gops": 200.0, "read_gb_per_second": 10.0}
        fast = {name: 2 * value for name, value in slow.items()}
        result = result_of({report.OURS: [[40, 80, 30]]}) | {"output_tokens": 64}
        waves = result["servers"][report.OURS]["rounds"][0]["cells"][str(self.CELL)]["waves"]
        for wave, roofline in zip(waves, (slow, fast, fast)):
            wave["roofline"] = roofline
        most = report.limit_of(slow, result, "bf16", self.CELL)
        self.assertAlmostEqual(report.limit_of(fast, result, "bf16", self.CELL), 2 * most)
        self.assertAlmostEqual(report.share_of_limit(result, report.OURS, self.CELL), 40 / most)

    def test_the_packed_product_is_the_peak_where_it_was_measured(self):
        measured = {"bf16_gflops": 500.0, "int8_gops": 1000.0}
        self.assertEqual(report.peak(measured, "bf16"), 500.0)
        self.assertEqual(report.peak(measured | {"bf16_packed_gflops": 450.0}, "bf16"), 450.0)
        self.assertEqual(report.peak(measured | {"int8_packed_gops": 900.0}, "int8"), 900.0)

    def test_the_page_keeps_what_is_around_the_tables(self):
        page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
        self.assertEqual(report.into_page(page, "new"), f"before\n{report.BEGIN}\n\nnew\n{report.END}\nafter\n")
        with self.assertRaises(ValueError):
            report.into_page("no lines", "new")


@unittest.skipUnless(sys.platform == "linux", "/proc is Linux's")
class Machine(unittest.TestCase):
    def test_others_are_what_is_not_accounted_for(self):
        cores = os.cpu_count()
        before = machine.Processors(at=0.0, busy=0.0, stolen=0.0)
        after = machine.Processors(at=10.0, busy=6.0 * cores, stolen=1.0 * cores)
        others, stolen = machine.shares(before, after, accounted=5.0 * cores)
        self.assertAlmostEqual(others, 0.1)
        self.assertAlmostEqual(stolen, 0.1)

    def test_this_process_is_in_its_own_session(self):
        self.assertIn(os.getpid(), machine.session_processes(os.getsid(0)))
        self.assertGreater(machine.memory([os.getpid()]).peak, 1 << 20)


if __name__ == "__main__":
    ran = unittest.main(exit=False).result
    failed = len(ran.failures) + len(ran.errors)
    print(f"{ran.testsRun - failed - len(ran.skipped)} passed, {failed} failed")
    sys.exit(failed > 0)
