"""What `flows` is to a processor: a running stage adds stages to its own flow.

await context.need("flows", Flows).add(
    Stage("fetch", "fetch-page", each=Each("list", "/pages"), before=("join",)),
)
"""

from typing import Protocol

from streams.flow import Stage


class Flows(Protocol):
    """Adds stages to the flow that the attempt's job is a stage of."""

    async def add(self, *stages: Stage) -> None:
        """Store these stages; each starts when the stages before it have ended.

        They may come `after` any stage of the flow, the running one too, and `before` any that has
        not started. A stage whose name the flow has already is left as it is, so that another
        attempt may say the same again. Raises Rejected where the job is no stage of a flow,
        InvalidInput and UnknownProcessor for stages that cannot be, FlowStopped when the flow was
        stopped or another attempt has taken over, and Unavailable.
        """
        ...
