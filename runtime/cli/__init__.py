"""The command line: one file per command group, light until a command really runs.

What can be typed is in the modules that `runtime.cli.main` names; they import click and the
standard library only, so that ``--help`` answers at once. What a command does is imported when it
is done.

======  ================================================================
exit    meaning
======  ================================================================
0       done
1       it did not work: ``error:`` says what, ``hint:`` what to do next
2       the command line itself was wrong
130     ended by Ctrl-C
141     nobody reads the output any more
======  ================================================================
"""
