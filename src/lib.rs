//! fly-autoscaler: brings the machines of Fly apps to the number that metrics ask for.
//!
//! One small daemon. On an interval it asks Prometheus, Temporal, Redis, Postgres or a web server for numbers, evaluates
//! expressions over them, and creates, destroys, starts or stops Fly Machines until the fleet matches. It runs unattended
//! with a token that can destroy production, so the layout serves one purpose: what is decided can be read, tested and
//! repeated apart from what is done.
//!
//! # One pass
//!
//! ```text
//!            collect (metrics, side by side)
//! pool ──►                                    ──► observe ──► evaluate ──► limit ──► plan ──► nothing to do: record
//!  ▲         list machines (one call)                                                  │
//!  │                                                                                   ▼
//!  └────────────── report, memory ◄── record ◄── act ◄── plan again ◄── release in progress? (only before a write)
//! ```
//!
//! A list can lack machines that exist: where a pass would grow without them, `observe` is followed by a question about
//! each, by its id.
//!
//! # Where things are
//!
//! The functional core names no socket, clock, environment or log:
//!
//! - [`expr`]: the expression language, from text to a number or a precise refusal.
//! - [`scaling`]: what a machine counts as, limits, the plan, the memory between passes.
//!
//! The edge of the core, text in and values out:
//!
//! - [`config`]: `FAS_*` variables and the YAML file to one validated [`config::Config`]. [`duration`]: Go's durations.
//!
//! The imperative shell:
//!
//! - [`shown`]: text that leaves the process, cleaned and without secrets. [`stderr`]: the only writer to standard error.
//! - [`transport`]: one HTTP exchange, the only seam; tests put the simulator behind it.
//! - [`machines`]: the Machines API and GraphQL: wire, tokens, retries, pacing.
//! - [`lock`]: which one of several copies of this program writes. [`peers`]: others that run without one.
//! - [`collect`]: Prometheus, Temporal, web servers, Redis and Postgres.
//! - [`app`]: what one app keeps between passes, and which fleets it has.
//! - [`decide`]: what a pass is to do, with the question about the release. [`act`]: carries a plan out. [`reconcile`]: the
//!   order of a pass. [`report`]: what became of it, and [`pass_log`] what the log says of that. [`pool`]: which apps,
//!   when, how many at once.
//! - [`waiting`]: passes that only wait, and hold no place meanwhile.
//! - [`json`]: how the JSON of peers is read.
//! - [`labels`]: the closed sets that `/metrics` and the log name things by.
//! - [`inventory`]: the machines of a fleet as they are shown. [`status`]: the record, what each fleet is, was, and why.
//! - [`page`]: the record as HTML. [`chart`]: numbers over time as SVG.
//! - [`dashboard`]: what to see of `/metrics` in Grafana, and to be woken by.
//! - [`metrics`], [`health`], [`admin`]: what `/metrics`, `/healthz` and `/readyz` show. [`listener`]: who may ask, how much.
//! - [`backtest`]: the same decisions over the past of the metrics and a model of the fleet; pure.
//! - [`check`]: what is said of a configuration that was tried. [`daemon`]: puts it all together.
//! - [`commands`]: the program's commands. [`telemetry`]: logs.
//! - [`sim`]: a simulated Fly platform, for the demo and for tests. [`demo`]: the day that the demo plays on it.
//!
//! # Who may import whom
//!
//! ```text
//! shutdown, duration, error_chain, json, labels, shown, stderr, transport, waiting, listener, sim   nothing of ours
//! expr                     duration, shown (a user's text in messages)
//! scaling                  expr, json, shown
//! clock                    scaling
//! backtest                 chart, expr, scaling, shown
//! config                   duration, expr, scaling, shown, transport (which proxies there are)
//! telemetry                config, shown, stderr
//! metrics                  labels, scaling
//! dashboard                labels, metrics (names of series), scaling (words for states)
//! peers                    clock, error_chain, metrics, scaling (the time)
//! lock                     clock, error_chain, labels, metrics, scaling (the time), shown, shutdown, transport
//! machines                 duration, json, labels, lock, scaling, metrics, shown, shutdown, transport
//! collect                  config, error_chain, expr, json, labels, metrics, scaling (the time), shown, transport
//! act                      clock, labels, lock, scaling, machines, metrics, waiting
//! inventory                scaling
//! report                   collect, expr, inventory, labels, scaling, machines
//! status                   clock, inventory, labels, lock, metrics (names of series), peers, report, scaling, shown
//! pass_log                 duration, shown, report and what it names
//! decide                   scaling, machines
//! app                      collect, expr, machines, pass_log, scaling
//! reconcile                everything above but sim
//! health                   labels, lock, report, scaling (names of fleets)
//! chart                    nothing of ours
//! page                     chart, inventory, labels, scaling, shown, status
//! pool, admin              what they run and show; lock (pool), peers (admin), clock, config, scaling (names of fleets), shown, status
//! check                    collect, config, decide, error_chain, expr, json, lock, machines, peers, scaling, shown
//! daemon                   everything but commands and sim
//! demo                     sim
//! commands                 everything; beside demo the only one to import sim (the demo is simulator and daemon)
//! ```
//!
//! `tests/it/tidy.rs` holds the table and checks it. `sim` writes its own JSON and shares no type with the client, so that
//! a field misread by one cannot be miswritten by the other in the same way.
//!
//! # Invariants
//!
//! - Invariant: no write without a machine list of the same pass, and none without a valid target from fresh metrics, but
//!   for the floor and fallbacks, which only create or start. Nothing is destroyed or stopped without an answer about the
//!   current release, and nothing grows without one where the machines show a deploy.
//! - Invariant: where there is a lock, no write begins that did not pass its gate, later than 10 s after the sending of a
//!   renewal, or in a pass that began before the lock was held.
//! - Invariant: where apps are divided into shards, the same of each: the lock is then that of the app's shard, and of all
//!   copies that divide in this way.
//! - Invariant: never fewer than one created machine by our hand, never more destroyed than planned, no protected machine
//!   touched, nothing destroyed with force.
//! - Invariant: a create whose outcome is unknown is not repeated blindly.
//! - Invariant: every loop is bounded, every call has a deadline, the daemon stops within five seconds at any moment.
//! - Invariant: no client of the port delays a pass by more than a second: connections, headers and answers are bounded.
//! - Invariant: one owner for each app's state: the pool hands it to a pass and takes it back.
//! - Invariant: tokens are in types that cannot be printed; no output holds one, because all text passes [`shown`] last.
//! - Invariant: nobody waits for a reader of standard error.
//! - Invariant: the environment is read in `commands` alone, and the process ended in `main` alone; `.clippy.toml` bans what
//!   would break this.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests of the core begin at some moment, and read the switch that rewrites golden plans"
    )
)]

pub mod act;
pub mod admin;
pub mod app;
pub mod backtest;
pub mod chart;
pub mod check;
pub mod clock;
pub mod collect;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod dashboard;
pub mod decide;
pub mod demo;
pub mod duration;
pub mod error_chain;
pub mod expr;
pub mod health;
pub mod inventory;
pub mod json;
pub mod labels;
pub mod listener;
pub mod lock;
pub mod machines;
pub mod metrics;
pub mod page;
pub mod pass_log;
pub mod peers;
pub mod pool;
pub mod reconcile;
pub mod report;
pub mod scaling;
pub mod shown;
pub mod shutdown;
pub mod sim;
pub mod status;
pub mod stderr;
pub mod telemetry;
pub mod transport;
pub mod waiting;
