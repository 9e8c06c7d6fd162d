"""Waiting for a cluster without a worker's slot."""

from datetime import timedelta

from airflow.sdk import BaseSensorOperator

from warren_airflow.hook import STATES, WarrenHook
from warren_airflow.triggers import WarrenClusterTrigger

# Longer than Warren's figures are old, and than a query waits for its first page.
STEADY = {"ready": 0.0, "idle": 10.0}


class WarrenClusterSensor(BaseSensorOperator):
    """Waits until a cluster is `ready` (a statement ran there) or `idle` (it carries no query, for
    some looks in a row). It waits in the triggerer, for as long as `timeout` says."""

    template_fields = ("cluster", "state")

    def __init__(self, *, cluster, state, warren_conn_id=WarrenHook.default_conn_name, steady=None,
                 poke_interval=5, **arguments):
        super().__init__(poke_interval=poke_interval, **arguments)
        self.cluster = cluster
        self.state = state
        self.steady = steady
        self.warren_conn_id = warren_conn_id

    def execute(self, context):
        if self.state not in STATES:
            raise ValueError(f"state={self.state!r}: known are {', '.join(STATES)}")
        # Asked once here: a name that is wrong, or a token, fails at once and not after hours.
        WarrenHook(self.warren_conn_id).cluster(self.cluster)
        steady = STEADY[self.state] if self.steady is None else self.steady
        self.defer(
            trigger=WarrenClusterTrigger(
                cluster=self.cluster,
                state=self.state,
                steady=steady,
                every=float(self.poke_interval),
                warren_conn_id=self.warren_conn_id,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout),
        )

    def execute_complete(self, context, event):
        """The trigger has seen it."""
        self.log.info("%s is %s: %s", self.cluster, self.state, event)
        return event
