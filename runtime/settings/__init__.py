"""Settings: structs with safe defaults; a file, variables and flags, validated together.

    loaded = load_settings(config=None, environ=os.environ, overrides={}, agent_kinds={"echo":
    EchoOptions}) loaded.settings.gateway.port

In code: ``Settings(storage=StorageSettings(data_dir=folder))``.
"""

from runtime.sessions.durations import format_duration, parse_duration
from runtime.settings.check import check, is_loopback, settings_of_no_channel
from runtime.settings.forms import (
    Form,
    PositiveSeconds,
    QueueMode,
    Seconds,
    SecondsOrOff,
    Secret,
    VariableNames,
    format_size,
    parse_queue_mode,
    parse_size,
)
from runtime.settings.load import Loaded, check_files, load_settings
from runtime.settings.problems import Problem, SettingsError
from runtime.settings.secrets import secrets_of
from runtime.settings.structs import (
    AgentEntry,
    ChannelSettings,
    DropPolicy,
    GatewaySettings,
    LogSettings,
    MediaSettings,
    PrincipalSettings,
    QueueSettings,
    RoutingSettings,
    SessionSettings,
    Settings,
    StorageSettings,
    TranscriberSettings,
)
from runtime.settings.write import settings_schema, settings_table, settings_toml

__all__ = [
    "AgentEntry",
    "ChannelSettings",
    "DropPolicy",
    "Form",
    "GatewaySettings",
    "Loaded",
    "LogSettings",
    "MediaSettings",
    "PositiveSeconds",
    "PrincipalSettings",
    "Problem",
    "QueueMode",
    "QueueSettings",
    "RoutingSettings",
    "Seconds",
    "SecondsOrOff",
    "Secret",
    "SessionSettings",
    "Settings",
    "SettingsError",
    "StorageSettings",
    "TranscriberSettings",
    "VariableNames",
    "check",
    "check_files",
    "format_duration",
    "format_size",
    "is_loopback",
    "load_settings",
    "parse_duration",
    "parse_queue_mode",
    "parse_size",
    "secrets_of",
    "settings_of_no_channel",
    "settings_schema",
    "settings_table",
    "settings_toml",
]
