//! The real program with real servers: Prometheus, `VictoriaMetrics`, Temporal, Redis, Postgres, `PgBouncer` and Consul, on free
//! ports of 127.0.0.1.
//!
//! What it scales is the simulator, whose state is the truth that these tests judge by; no Fly machine is touched. They
//! are ignored by a plain `cargo test`, since the servers have to be installed. `FAS_TEST_PROMETHEUS`,
//! `FAS_TEST_VICTORIA_METRICS`, `FAS_TEST_TEMPORAL`, `FAS_TEST_NGINX`, `FAS_TEST_OPENSSL`, `FAS_TEST_PROMTOOL`,
//! `FAS_TEST_REDIS`, `FAS_TEST_REDIS_CLI`, `FAS_TEST_PGBOUNCER` and `FAS_TEST_CONSUL` name the programs where they are not found by their usual
//! names, and `FAS_TEST_POSTGRES_BIN` the folder of Postgres's. One that cannot be started fails the test. Every process ends with its test.

mod answers;
mod backtest;
mod blueprint;
mod consul_server;
mod copies;
mod databases;
mod metrics_server;
mod observing;
pub(crate) mod process;
mod queues;
pub(crate) mod scene;
mod shards;
mod temporal;
mod temporal_server;
mod wildcard;
