"""What is wanted of a cluster."""

from airflow.sdk import BaseOperator

from warren_airflow.hook import WarrenHook


class WarrenIntentOperator(BaseOperator):
    """Sets the intent of a cluster: `active`, `standby`, `draining` or `drained`."""

    template_fields = ("cluster", "intent", "reason")

    def __init__(self, *, cluster, intent, reason="Airflow: {{ dag.dag_id }} {{ run_id }}",
                 warren_conn_id=WarrenHook.default_conn_name, **arguments):
        super().__init__(**arguments)
        self.cluster = cluster
        self.intent = intent
        self.reason = reason
        self.warren_conn_id = warren_conn_id

    def execute(self, context):
        changed = WarrenHook(self.warren_conn_id).set_intent(self.cluster, self.intent, self.reason)
        self.log.info("%s is now %s (version %s)", changed["cluster"], changed["intent"], changed["version"])
        return changed
