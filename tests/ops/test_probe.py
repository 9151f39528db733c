"""The health check of a container: what answers, and what a metric says."""

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from ops.probe import main
from tests.support.redis_server import free_port


def test_a_probe_is_well_when_the_metric_has_its_value() -> None:
    registry = CollectorRegistry()
    healthy = Gauge("roughneck_worker_healthy", "", registry=registry)
    healthy.set(1)
    port = free_port()
    url = f"http://127.0.0.1:{port}/metrics"
    server, thread = start_http_server(port, "127.0.0.1", registry)
    try:
        assert main([url]) == main([url, "roughneck_worker_healthy=1"]) == 0
        healthy.set(0)
        assert main([url, "roughneck_worker_healthy=1"]) == 1
        assert main([url, "roughneck_unknown=1"]) == 1
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert main([url]) == 1
    assert main([]) == 2
