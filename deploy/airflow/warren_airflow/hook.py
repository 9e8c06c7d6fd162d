"""Warren's operators' API, as far as a roll needs it."""

import requests
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException

PORT = 8081
TIMEOUT = 15


class WarrenHook(BaseHook):
    """Calls the operators' port of a Warren.

    The connection is one of type HTTP: host, port (8081 if it has none), and the token of the
    operators' port as its password."""

    conn_name_attr = "warren_conn_id"
    default_conn_name = "warren_default"
    conn_type = "http"
    hook_name = "Warren"

    def __init__(self, warren_conn_id=default_conn_name):
        super().__init__()
        self.warren_conn_id = warren_conn_id

    def call(self, method, path, body=None):
        """One call; what Warren refuses is raised in its own words."""
        connection = self.get_connection(self.warren_conn_id)
        url = f"{connection.schema or 'http'}://{connection.host}:{connection.port or PORT}{path}"
        headers = {"Authorization": f"Bearer {connection.password}"} if connection.password else {}
        with requests.Session() as session:
            # The port is inside, whatever proxy leads outside.
            session.trust_env = False
            answer = session.request(
                method, url, json=body, headers=headers, timeout=TIMEOUT, allow_redirects=False
            )
        if answer.status_code != 200:
            raise AirflowException(f"{method} {path}: Warren says {answer.status_code}: {words(answer)}")
        return answer.json()

    def clusters(self, group=None):
        """The clusters, of one group or of all."""
        found = self.call("GET", "/api/v1/clusters")
        return [cluster for cluster in found if group in (None, cluster["group"])]

    def cluster(self, name):
        """One cluster."""
        found = self.clusters()
        for cluster in found:
            if cluster["name"] == name:
                return cluster
        known = ", ".join(cluster["name"] for cluster in found)
        raise AirflowException(f"Warren has no cluster {name!r}; known are {known}")

    def set_intent(self, name, intent, reason):
        """Says what is wanted of a cluster; in force with the answer, elsewhere within a second."""
        return self.call("PUT", f"/api/v1/clusters/{name}/intent", {"intent": intent, "reason": reason})


def words(answer):
    """What an answer says went wrong."""
    try:
        return answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]


def is_ready(cluster):
    """A statement ran there."""
    return cluster["health"] == "ready"


def is_idle(cluster):
    """It carries no query. A figure that is not known is null, and is not 0."""
    return cluster["owned"] == 0 and cluster["queued"] == 0 and cluster["running"] == 0


STATES = {"ready": is_ready, "idle": is_idle}
