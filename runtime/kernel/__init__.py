"""Actors on Trio: supervised, bounded, typed."""

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
from runtime.kernel.tree import TreeNode

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
