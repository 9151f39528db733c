"""The first stage of `cnc-pattern-detection`: counts, clusters and spikes, without a model."""

from processors.cnc.patterns import Counted, PatternIn, count_patterns
from processors.sdk import Context, InvalidInput, Manifest, ResourceClass, processor


@processor(
    Manifest(
        name="cnc-pattern-count",
        version="1.0.0",
        summary="Put errors into clusters and find what is unusual about them.",
        resource_class=ResourceClass.CPU,
        attempts_max=2,
        timeout_s=120,
    )
)
def cnc_pattern_count(given: PatternIn, context: Context) -> Counted:
    """Count; a window or baseline that ends before it begins is refused."""
    for name, between in (("window", given.window), ("baseline", given.baseline)):
        if between.span.length <= 0:
            raise InvalidInput(f"the {name} ends before it begins", f"$.{name}")
    counted = count_patterns(given)
    context.log.info(
        "counted",
        errors=counted.errors,
        clusters=len(counted.clusters),
        notable=sum(cluster.notable for cluster in counted.clusters),
    )
    return counted
