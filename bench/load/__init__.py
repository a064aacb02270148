"""The load benchmark: whole servers under load, CPU time per request, ratios taken in one run.

`python -m bench.load` runs it; bench/README.md tells how to read it.
"""
