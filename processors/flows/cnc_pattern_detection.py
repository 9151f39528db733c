"""What is unusual about an app's errors: counted on cpu, named by a model on ollama."""

from processors.cnc.patterns import PatternIn
from processors.sdk import NamedFlow, Stage

FLOW = NamedFlow(
    name="cnc-pattern-detection",
    version="1.0.0",
    summary="Clusters, spikes and new kinds of errors, with names for what stands out.",
    input=PatternIn,
    stages=(
        Stage("count", "cnc-pattern-count", payload={"$input": ""}),
        Stage("name", "cnc-pattern-name", payload={"$result": "count"}),
    ),
    deadline_s=86_400.0,
)
