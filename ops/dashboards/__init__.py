"""The dashboards that ship, made into `ops/deploy/grafana/dashboards` by `tests.check --fix`."""

from ops.dashboards.apps import APPS
from ops.dashboards.build import Dashboard
from ops.dashboards.callbacks import CALLBACKS
from ops.dashboards.groups import GROUPS
from ops.dashboards.models import MODELS
from ops.dashboards.overview import OVERVIEW

DASHBOARDS: tuple[Dashboard, ...] = (OVERVIEW, GROUPS, MODELS, CALLBACKS, APPS)
