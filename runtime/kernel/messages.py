"""What actors say to each other: frozen structs, and requests that have a reply."""

from typing import Generic, TypeVar

import msgspec

Reply_co = TypeVar("Reply_co", covariant=True)


class Message(msgspec.Struct, frozen=True):
    """Base of messages: a frozen struct, so that a message cannot change once it is sent.

    Deriving from it is a convenience. Any frozen `msgspec.Struct` may be a message, for instance a
    struct that also travels over a wire.
    """


class Request(Message, Generic[Reply_co], frozen=True):
    """A message that has a reply, whose type is the parameter.

    ``class Status(Request[QueueStatus], frozen=True)`` makes ``await ref.ask(Status(), 1.0)`` a
    ``QueueStatus`` for type checkers.
    """
