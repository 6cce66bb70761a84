"""Kill the real process at random moments, and account for every message that was accepted.

    python -m tests.crash --count 100 --seed 7

=============  ====================================================================================
`processes`    starts ``python -m runtime`` and kills it
`connections`  clients that come back by themselves
`agents`       kills those of its agents that are processes, and finds who outlives them
`agent`        such an agent; it needs no packages
`crowd`        what the people in all the sessions do
`ledger`       what the runtime promised to them
`evidence`     what the data directory holds in the end
`accounting`   holds the one against the other; pure, with tests that show that it can fail
`drive`        the whole run
=============  ====================================================================================
"""
