"""Looks at a cluster from the triggerer, until it is as it should be."""

import asyncio
import time

import requests
from airflow.triggers.base import BaseTrigger, TriggerEvent

from warren_airflow.hook import STATES, WarrenHook


class WarrenClusterTrigger(BaseTrigger):
    """Fires when a cluster was in a state at each look for `steady` seconds."""

    def __init__(self, cluster, state, steady, every, warren_conn_id):
        super().__init__()
        self.cluster = cluster
        self.state = state
        self.steady = steady
        self.every = every
        self.warren_conn_id = warren_conn_id

    def serialize(self):
        """How another process makes it again."""
        return (
            "warren_airflow.triggers.WarrenClusterTrigger",
            {
                "cluster": self.cluster,
                "state": self.state,
                "steady": self.steady,
                "every": self.every,
                "warren_conn_id": self.warren_conn_id,
            },
        )

    async def run(self):
        """Looks; a Warren that cannot be reached for a while ends nothing."""
        since = None
        while True:
            try:
                # The hook blocks, so it has a thread.
                seen = await asyncio.to_thread(self.look)
            except requests.RequestException as error:
                self.log.warning("Warren cannot be asked: %s", error)
                seen = None
            now = time.monotonic()
            if seen is None or not STATES[self.state](seen):
                since = None
            elif since is None:
                since = now
            if since is not None and now - since >= self.steady:
                yield TriggerEvent({key: seen[key] for key in ("name", "health", "owned", "queued", "running")})
                return
            await asyncio.sleep(self.every)

    def look(self):
        """What Warren says of the cluster now."""
        return WarrenHook(self.warren_conn_id).cluster(self.cluster)
