"""Supervised actors on Trio, useful alone.

An actor is a class with a union of message types. It handles one message at a time; its helper
tasks and its children live in its nursery and end with it; when it fails, its supervisor decides.
A system of actors is a block in one's own Trio program: nobody outlives it. ::

    class Greeter(Actor[Hello]):
        async def on_message(self, message: Hello) -> str:
            return f"Hello, {message.name}!"

    async with open_system() as system:
        greeter = system.spawn(Greeter, name="greeter")
        print(await greeter.ask(Hello("Ada"), timeout=1))

**Restart × outcome.** When an ended actor is started again. Fresh state from the factory, the same
reference, the remaining mailbox; the message that killed it is a dead letter. The first two columns
are subject to the intensity: n restarts in t seconds, with backoff.

============== ============ ========= ======================= ==========================
Restart        stop()       crashed   told to stop, in grace  told to stop, grace over
============== ============ ========= ======================= ==========================
``PERMANENT``  again        again     stopped                 cancelled, stopped
``TRANSIENT``  stopped      again     stopped                 cancelled, stopped
``TEMPORARY``  stopped      stopped   stopped                 cancelled, stopped
============== ============ ========= ======================= ==========================

**Strategy × sibling.** What happens to static siblings (`Actor.spawn_all`) when one is to be
started again. They are told to stop in reverse order and start in order. Past the intensity, their
supervisor fails with the last error.

================ ================= ===================== ==========================
Strategy         started earlier   started later         finished, or temporary
================ ================= ===================== ==========================
``ONE_FOR_ONE``  goes on           goes on               stays as it is
``REST_FOR_ONE`` goes on           is started again      stays stopped, or stops
``ONE_FOR_ALL``  is started again  is started again      stays stopped, or stops
================ ================= ===================== ==========================

Dynamic children (`Actor.spawn`) have no siblings in this sense: each has an intensity of its own,
and past it is given up alone.

**Mailbox policy × full.** What a full mailbox does with one message more. `ActorRef.send` waits for
room whatever the policy; notices of watched actors have a lane of their own and always fit.

================ ======== ==================== =================================
Policy           tell     ask                  dead letter
================ ======== ==================== =================================
``REJECT``       False    `MailboxFull`        none: the sender knows
``DROP_OLDEST``  True     waits for its reply  the oldest message
``DROP_NEWEST``  False    `MailboxFull`        this message
``WAIT``         False    waits for room       none
================ ======== ==================== =================================

An idle actor holds no task: see `runtime.kernel.scheduler`. What happens can be observed:
`runtime.kernel.events`. Actors can be tested on a virtual clock: `runtime.kernel.testkit`.
"""

from runtime.kernel.actor import Actor
from runtime.kernel.context import CurrentActor, current_actor
from runtime.kernel.errors import (
    ActorStopped,
    AskTimeout,
    Deadlock,
    KernelError,
    MailboxFull,
    UnhandledMessageError,
)
from runtime.kernel.family import Helper
from runtime.kernel.mailbox import MailboxSpec, Overflow
from runtime.kernel.messages import Message, Request
from runtime.kernel.policy import Backoff, Intensity, Restart, StopOrder, Strategy
from runtime.kernel.reasons import State, StopKind, StopReason
from runtime.kernel.ref import ActorRef, Reply, Watch
from runtime.kernel.supervisor import ChildSpec, Supervisor
from runtime.kernel.system import System, open_system
from runtime.kernel.timers import Timer
from runtime.kernel.tree import MailboxDepths, TreeNode

__all__ = [
    "Actor",
    "ActorRef",
    "ActorStopped",
    "AskTimeout",
    "Backoff",
    "ChildSpec",
    "CurrentActor",
    "Deadlock",
    "Helper",
    "Intensity",
    "KernelError",
    "MailboxDepths",
    "MailboxFull",
    "MailboxSpec",
    "Message",
    "Overflow",
    "Reply",
    "Request",
    "Restart",
    "State",
    "StopKind",
    "StopOrder",
    "StopReason",
    "Strategy",
    "Supervisor",
    "System",
    "Timer",
    "TreeNode",
    "UnhandledMessageError",
    "Watch",
    "current_actor",
    "open_system",
]
