"""Child processes that never outlive their purpose (P1, P2, P5, P6).

Nothing here knows what the processes are: it starts them from one permanent thread, each in a
process group of its own, reads records from them within limits, keeps what they say on standard
error, and ends them and everything that they have started.
"""

from runtime.processes.exits import ExitStatus
from runtime.processes.process import ChildProcess, ProcessGone, ProcessSpec
from runtime.processes.processes import Processes, open_processes
from runtime.processes.slots import Place, Slots

__all__ = [
    "ChildProcess",
    "ExitStatus",
    "Place",
    "ProcessGone",
    "ProcessSpec",
    "Processes",
    "Slots",
    "open_processes",
]
