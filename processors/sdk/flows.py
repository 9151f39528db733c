"""Which named flows there are: found at boot, and held against the processors."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from processors.sdk.discovery import in_entry_points, load_loose, modules_in
from processors.sdk.named_flow import NamedFlow, flows_of
from processors.sdk.registry import Registry
from streams.directory import FlowCard
from streams.errors import ConfigError
from streams.flow import result_stage

BUILTIN = "processors.flows"
ENTRY_POINTS = "roughneck.flows"

log = logging.getLogger(__name__)


def discover_flows(folders: Sequence[Path] = (), *, builtin: str = BUILTIN) -> list[NamedFlow]:
    """All flows of the built-in package, of installed entry points and of `folders`, by name.

    Raises ConfigError naming what cannot be imported, or two flows of one name.
    """
    found = [one for module in modules_in(builtin) for one in flows_of(module)]
    found += in_entry_points(ENTRY_POINTS, "flow", flows_of, _itself)
    for folder in dict.fromkeys(folder.expanduser().resolve() for folder in folders):
        for module in load_loose(folder):
            found += flows_of(module)
    by_name: dict[str, NamedFlow] = {}
    for flow in found:
        if by_name.setdefault(flow.name, flow) is not flow:
            raise ConfigError(f"two flows are named {flow.name!r}")
    return [by_name[name] for name in sorted(by_name)]


def flow_card(flow: NamedFlow, now_ms: int) -> FlowCard:
    """What a worker publishes of a flow."""
    return FlowCard(
        name=flow.name,
        version=flow.version,
        summary=flow.summary,
        input_schema=msgspec.Raw(msgspec.json.encode(msgspec.json.schema(flow.input))),
        stages=flow.stages,
        result=result_stage(flow.flow),
        deadline_s=flow.deadline_s,
        published_ms=now_ms,
    )


def check_against(flows: Iterable[NamedFlow], registry: Registry) -> None:
    """Raise ConfigError where a flow has the name of a processor; tell of processors elsewhere."""
    for flow in flows:
        if registry.get(flow.name) is not None:
            raise ConfigError(f"a flow and a processor are named {flow.name!r}")
        for stage in flow.stages:
            if registry.get(stage.processor) is None:
                log.info(
                    "a processor of a flow is not installed here",
                    extra={"flow": flow.name, "stage": stage.name, "processor": stage.processor},
                )


def _itself(target: object) -> NamedFlow | None:
    return target if isinstance(target, NamedFlow) else None
