"""What comes with a request of the agent."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from runtime.protocol import jsonrpc
from runtime.protocol.lenient import Unusable, lenient

ParamsT = TypeVar("ParamsT", bound=msgspec.Struct)


def read_params(params: msgspec.Raw, kind: type[ParamsT]) -> ParamsT:
    """The parameters of a request.

    Raises:
        RpcError: they cannot be used.
    """
    try:
        return lenient(params, kind)
    except Unusable as error:
        jsonrpc.invalid_params(str(error), "$")
