"""Agents that mean harm, or are broken, behind the real process.

=============  ====================================================================================
`villain`      such an agent, with many crimes
`crimes`       what each of them leads to, for the person in the chat
`den`          a runtime with all of them, and honest ones beside them
`hasty`        the runtime as it is, but for short waits after starts that failed
=============  ====================================================================================

``make villains COUNT=20`` lets all of them loose again and again.
"""
