"""All that speaks to Redis, one module per aggregate; `keyspace` says what is kept where and how long."""
