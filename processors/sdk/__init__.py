"""The names a processor may import; nothing else of Roughneck is meant for it."""

from processors.dependencies.adding import Flows
from processors.dependencies.asking import Answer, Ask, Ollama, Purpose, Usage
from processors.dependencies.cache import Cache
from processors.dependencies.log import Log
from processors.sdk.agents import AgentContext, Counts, Events, Watch, Window, agent
from processors.sdk.context import Context
from processors.sdk.declaration import processor
from processors.sdk.form import Check, Example, Form, said
from processors.sdk.interview import AnswerCut, AnswerUnfit, Interview, Meta
from processors.sdk.manifest import Manifest
from processors.sdk.named_flow import NamedFlow
from streams.errors import InvalidInput, Rejected, Retry, Snooze, TooLarge, Unavailable
from streams.event_record import Event
from streams.flow import Each, OnFailure, Stage
from streams.ids import job_id_for_key
from streams.model import ResourceClass, State

__all__ = [
    "AgentContext",
    "Answer",
    "AnswerCut",
    "AnswerUnfit",
    "Ask",
    "Cache",
    "Check",
    "Context",
    "Counts",
    "Each",
    "Event",
    "Events",
    "Example",
    "Flows",
    "Form",
    "Interview",
    "InvalidInput",
    "Log",
    "Manifest",
    "Meta",
    "NamedFlow",
    "Ollama",
    "OnFailure",
    "Purpose",
    "Rejected",
    "ResourceClass",
    "Retry",
    "Snooze",
    "Stage",
    "State",
    "TooLarge",
    "Unavailable",
    "Usage",
    "Watch",
    "Window",
    "agent",
    "job_id_for_key",
    "processor",
    "said",
]
