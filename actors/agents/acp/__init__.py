"""Any agent that speaks the Agent Client Protocol over its standard input and output.

See ``docs/agents.md``; the protocol is at https://agentclientprotocol.com.
"""

from actors.agents.acp.agent import AcpAgent
from actors.agents.acp.examination import examine
from actors.agents.acp.options import Options

__all__ = ["KIND", "AcpAgent", "Options", "create", "examine"]

KIND = "acp"


def create(name: str, options: Options) -> AcpAgent:
    """The agent of one ``[agents.NAME]`` table."""
    return AcpAgent(name, options)
