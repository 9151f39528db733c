"""One event from its web page: the page is fetched and read, then a model is asked for the rest."""

from processors.builtin.govejle_page import PageIn
from processors.sdk import NamedFlow, Stage

FLOW = NamedFlow(
    name="govejle-enrichment",
    version="1.0.0",
    summary="Read the event from its web page; a model finds what only the prose says.",
    input=PageIn,
    stages=(
        Stage("page", "govejle-page", payload={"$input": ""}),  # on io
        Stage("extract", "govejle-extraction", payload={"$result": "page"}),  # on ollama
    ),
)
