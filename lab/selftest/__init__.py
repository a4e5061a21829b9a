"""`kernel-lab self-test`: is the harness fooled, and is it fair? Answered by trying.

The attacks of `tests/attacks` (each a small file that says what it tries and how it must end) and
the honest candidates of `tests/honest` go through the real harness in real sandboxed workers, next
to the incumbent against itself and copies slowed on purpose. The answer is a `Scorecard`. Writes no
record: what is judged here is the judge.
"""
