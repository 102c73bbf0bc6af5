//! Integration tests: one binary, so that everything is linked once.
//!
//! `in_process` worlds run the real loop against the simulator behind the `Transport` seam under paused time, so that
//! minutes pass in milliseconds and always in the same way. The other modules start the real program on real sockets.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, and the line says where"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests look for servers in the environment, and wait for processes by the clock"
)]

mod acting;
mod apps;
mod backtest;
mod bounds;
mod browser;
mod busy;
mod check;
mod copies;
mod demo;
mod endurance;
mod eval;
mod failure;
mod fleets;
mod hostile;
mod image;
mod leaks;
mod lost_answers;
#[path = "../fuzz/checks/machines.rs"]
mod machine_lists;
mod metrics;
mod page;
mod per_region;
mod port;
mod program;
mod regions;
mod scale;
mod servers;
mod shards;
mod shutdown;
mod simulation;
mod standing;
mod standstill;
mod status;
mod tidy;
mod time_of_a_pass;
mod turns;
mod unlisted;
mod words;
mod world;
