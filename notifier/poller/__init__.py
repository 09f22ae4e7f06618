"""One poll after another: source -> diff -> rules -> one commit.

``loop`` holds the lease and keeps the beat, ``cycle`` is one poll, ``traversal`` turns pages into
sightings, ``baseline`` takes a first look, ``commits`` builds what is written, ``names`` looks up employers
and carriers.
"""
