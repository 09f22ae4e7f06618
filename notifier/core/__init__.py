"""The decisions, pure: no IO, no clock, no Redis. Values in, values out."""
