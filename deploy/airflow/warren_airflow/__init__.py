"""Warren in Airflow: a hook, an operator, and a sensor that defers."""
