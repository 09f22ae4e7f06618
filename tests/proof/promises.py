"""The promises by number, as docs/guarantees.md words them, for the table at the end of a run."""

from __future__ import annotations

PROMISES = {
    "P1": "never invented",
    "P2": "never falsely removed",
    "P3": "mass guard",
    "P4": "baseline without events",
    "P5": "converges",
    "P6": "drift-proof",
    "P7": "identity of what returns",
    "P8": "atomic commit",
    "P9": "crash-proof",
    "P10": "committed once",
    "P11": "fenced",
    "P13": "fails loudly at start",
    "P14": "at least once, or visible",
    "P15": "ordered",
    "P18": "poison-proof",
    "P19": "clean stop",
    "P22": "no request forgery",
    "P23": "no secret, no EIN",
    "P24": "bounded",
    "P25": "inert configuration",
    "P26": "never silently stalled",
    "P27": "leak-free",
}
