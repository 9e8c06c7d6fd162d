"""The daily roll of a group of two clusters, in five steps, without a failed query:

boot the new one → wait until it is ready → new queries go to it → the running queries of the old one
finish → the old one is deactivated.

Which one is the old one is asked of Warren: it is the one that is active now. What boots and stops a
cluster is yours: the commands of the Variables `warren_boot` and `warren_stop`, which find the cluster in
`$CLUSTER`.
"""

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Param, task
from airflow.sdk.exceptions import AirflowFailException

from warren_airflow.hook import WarrenHook
from warren_airflow.operators import WarrenIntentOperator
from warren_airflow.sensors import WarrenClusterSensor

# Half a day: the longest query of the night may end first.
DRAIN = timedelta(hours=12)
BOOT = timedelta(minutes=30)

OLD = "{{ ti.xcom_pull(task_ids='choose')['old'] }}"
NEW = "{{ ti.xcom_pull(task_ids='choose')['new'] }}"

BOOT_COMMAND = (
    "{{ var.value.get('warren_boot', 'echo \"nothing boots $CLUSTER: set the Variable warren_boot, for example to:"
    " kubectl scale deployment trino-$CLUSTER-coordinator --replicas=1\"') }}"
)
STOP_COMMAND = "{{ var.value.get('warren_stop', 'echo \"nothing stops $CLUSTER: set the Variable warren_stop\"') }}"


@task
def choose(params):
    """The active cluster of the group is the old one, the other the new one."""
    clusters = WarrenHook().clusters(params["group"])
    told = ", ".join(f"{cluster['name']} is {cluster['intent']}" for cluster in clusters)
    active = [cluster["name"] for cluster in clusters if cluster["intent"] == "active"]
    others = [cluster["name"] for cluster in clusters if cluster["intent"] != "active"]
    if len(active) != 1 or len(others) != 1:
        raise AirflowFailException(
            f"a roll needs one active cluster and another one in the group {params['group']!r}: {told or 'it has none'}"
        )
    return {"old": active[0], "new": others[0]}


with DAG(
    dag_id="warren_daily_roll",
    schedule="0 12 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params={"group": Param("bi", type="string", description="The group whose clusters change places")},
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    doc_md=__doc__,
    tags=["warren", "trino"],
):
    boot = BashOperator(task_id="boot_new", bash_command=BOOT_COMMAND, env={"CLUSTER": NEW}, append_env=True)
    ready = WarrenClusterSensor(
        task_id="wait_until_ready", cluster=NEW, state="ready", timeout=BOOT.total_seconds()
    )
    # The new one first: for a moment both take queries, and at no moment neither.
    to_new = WarrenIntentOperator(task_id="shift_to_new", cluster=NEW, intent="active")
    from_old = WarrenIntentOperator(task_id="shift_from_old", cluster=OLD, intent="draining")
    idle = WarrenClusterSensor(
        task_id="wait_until_old_is_idle", cluster=OLD, state="idle", timeout=DRAIN.total_seconds()
    )
    deactivate = WarrenIntentOperator(task_id="deactivate_old", cluster=OLD, intent="drained")
    stop = BashOperator(task_id="stop_old", bash_command=STOP_COMMAND, env={"CLUSTER": OLD}, append_env=True)

    choose() >> boot >> ready >> to_new >> from_old >> idle >> deactivate >> stop
