"""The report of a run: one HTML page that needs no network, with its style, its script and all its pictures inside.

`page` writes it; `changes` says what differs from another run, `models` and `tables` what is shown beside the claims.
"""
