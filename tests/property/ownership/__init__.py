"""Whose a file is, asked of a whole runtime after every step of a random history.

==========  ========================================================================================
`loop`      Trio in a thread, on a clock that only rules move
`player`    the agent: each prompt waits until a rule says what becomes of it
`edges`     the chat network, and what makes text of voices
`power`     one life of the runtime, and how the power goes at a chosen instant
`world`     the runtime, life after life on the same store and folder, and what people do to it
`facts`     what is there: rows, index, disk
`record`    what was promised, noted down independently of the runtime's own rules, and held against
            what is there
==========  ========================================================================================
"""
