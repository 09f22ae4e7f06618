"""What the notifier promises, tried against faults until it would break if it could.

``python -m tests.proof`` (``make prove``) runs every proof at full length and prints what each promise has
withstood; the tests in this package run the same proofs at a small scale, each with a *control*: a notifier
with the guard taken out, which must go red.

One file a proof: it does something terrible to a notifier many times, lets a whole one run to rest after each
time, and has ``oracle`` compare what receivers and store say with what the source showed.
"""
