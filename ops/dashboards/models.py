"""The models: what is in memory, what loading costs, how fast and how well they answer."""

from ops.dashboards.build import (
    WARN,
    Dashboard,
    Panel,
    Query,
    Row,
    highest,
    own_rate,
    quantile,
    share,
    truth,
)

MODEL, WRITTEN = "{{model}}", 'kind="completion"'
MEMORY = Row(
    "Memory",
    (
        Panel(
            title="In memory",
            what="On how many hosts each model is loaded, as Ollama says.",
            queries=(Query(highest("roughneck_model_resident", "model"), MODEL),),
            kind="state-timeline",
            names={"0": "away", "1": "in memory"},
            steps=((0, "transparent"), (1, "green")),
        ),
        Panel(
            title="Waiting by model",
            what="Jobs whose lane needs the model.",
            queries=(Query(truth("roughneck_model_waiting", "model"), MODEL),),
            stack=True,
        ),
        Panel(
            title="Hosts that have it",
            what="Live workers whose Ollama has pulled the model.",
            queries=(Query(highest("roughneck_model_hosts", "model"), MODEL),),
        ),
    ),
)

LOADING = Row(
    "Loading",
    (
        Panel(
            title="Loads",
            what="How often a model was brought into memory, in ten minutes.",
            queries=(
                Query("sum by (model) (increase(roughneck_model_load_seconds_count[10m]))", MODEL),
            ),
        ),
        Panel(
            title="Time of a load, p95",
            what="It does not count against the job's time.",
            queries=(Query(quantile(0.95, "roughneck_model_load_seconds", "model"), MODEL),),
            unit="s",
        ),
        Panel(
            title="Share of time spent loading",
            what="Over thirty minutes; above a half something makes models alternate.",
            queries=(Query("instance:roughneck_model_load:share30m", "{{instance}}"),),
            unit="percentunit",
            steps=((0.5, WARN),),
        ),
    ),
)

SPEED = Row(
    "Answers",
    (
        Panel(
            title="Tokens a second of an answer",
            what="While the model writes: tokens over the seconds that it took.",
            queries=(
                Query(
                    share(
                        own_rate("roughneck_model_tokens_total", "model", WRITTEN),
                        own_rate("roughneck_model_eval_seconds_total", "model", WRITTEN),
                    ),
                    MODEL,
                ),
            ),
        ),
        Panel(
            title="Time to the first token, p95",
            what="From the question to the first piece of the answer, loading apart.",
            queries=(Query(quantile(0.95, "roughneck_model_first_token_seconds", "model"), MODEL),),
            unit="s",
        ),
        Panel(
            title="Tokens read and written",
            what="A second, by processor.",
            queries=(
                Query(
                    own_rate("roughneck_model_tokens_total", "processor, kind"),
                    "{{processor}} {{kind}}",
                ),
            ),
            unit="cps",
        ),
        Panel(
            title="The model at work",
            what="The share of time in which it reads or writes.",
            queries=(
                Query(
                    own_rate("roughneck_model_eval_seconds_total", "model, kind"),
                    f"{MODEL} {{{{kind}}}}",
                ),
            ),
            unit="percentunit",
            stack=True,
        ),
    ),
)

QUALITY = Row(
    "Quality",
    (
        Panel(
            title="Repairs",
            what="The share of questions that ask to mend an answer, by processor.",
            queries=(
                Query(
                    share(
                        own_rate("roughneck_model_repairs_total", "processor"),
                        own_rate("roughneck_model_asks_total", "processor"),
                    ),
                    "{{processor}}",
                ),
            ),
            unit="percentunit",
        ),
        Panel(
            title="Questions",
            what="Asked of a model, a second.",
            queries=(
                Query(
                    own_rate("roughneck_model_asks_total", "processor, model"),
                    "{{processor}} {{model}}",
                ),
            ),
            unit="cps",
        ),
        Panel(
            title="Refusals",
            what="Attempts with a model that failed, by the code of the error.",
            queries=(
                Query(
                    own_rate("roughneck_attempt_failures_total", "model, error", 'model!=""'),
                    f"{MODEL} {{{{error}}}}",
                ),
            ),
            unit="cps",
        ),
        Panel(
            title="Needed no model",
            what="Results that were known already, a second.",
            queries=(
                Query(own_rate("roughneck_results_cached_total", "processor"), "{{processor}}"),
            ),
            unit="cps",
        ),
    ),
)

MODELS = Dashboard(
    uid="roughneck-models",
    title="Roughneck: GPU and models",
    what="What is in memory, what loading costs, how fast and how well models answer.",
    rows=(MEMORY, LOADING, SPEED, QUALITY),
)
