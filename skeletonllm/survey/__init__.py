"""What lies below a path, for people: what was read and how that is known, statistics, findings, pictures.

`collect` reads files, folders and data sets of shards, recording after recording, into one `Survey` that holds counts and a
few sample clips; `screen`, `page` and `sheet` show it.
"""
