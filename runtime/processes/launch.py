"""A program that becomes another one: `python launch.py status parent lc_ctype program arguments…`.

The kernel ends a process when its parent ends only if the process asked for it itself, after the
fork (``prctl(2)``, PR_SET_PDEATHSIG; it lasts over execve, except into set-user-ID programs).
Running Python code between fork and exec is unsafe in a process with threads, and forking a large
process holds everything up. So this small program is started, asks, and then becomes the real one.
It imports nothing of ours.

Args (of the command line):
    status: a descriptor that is closed when all went well; otherwise it gets the number of the
        error.
    parent: the process id of the runtime.
    lc_ctype: the value of that variable, empty when there is none: Python sets it at its start.
    program: the path of the file to execute; then the command line, beginning with its name.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Have the kernel send SIGKILL when the thread that started this process ends."""
    try:
        import ctypes
    except ImportError:  # a Python without it: what is left over is found at the next start
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)


def restore_signals() -> None:
    """Hand over no signal that is blocked or ignored: Python ignores SIGPIPE, a host may more."""
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def main() -> None:
    """Become the program."""
    status, parent, lc_ctype, program, *command = sys.argv[1:]
    os.set_inheritable(int(status), False)
    die_with_parent(int(parent))
    restore_signals()
    os.environ["LC_CTYPE"] = lc_ctype
    if not lc_ctype:
        del os.environ["LC_CTYPE"]
    try:
        os.execv(program, command)  # noqa: S606 - there is no shell, and the program is configured
    except OSError as error:
        os.write(int(status), str(error.errno).encode())
        os._exit(127)


if __name__ == "__main__":
    main()
