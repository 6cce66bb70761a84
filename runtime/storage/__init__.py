"""Where the truth is kept: the `Store` of operations, its engine on SQLite, and the transcripts."""
