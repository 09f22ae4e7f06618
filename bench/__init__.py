"""Speed and memory against floors: ``python -m bench [--quick] [NAME...]``, or ``make bench``.

Machines are noisy, so a time means nothing by itself: each is a ratio against a floor, the least that any
program in Python could do for the same result, measured in the same run and by turns with it.
"""
