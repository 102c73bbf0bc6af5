//! Reads any bytes as a machine list, and observes, limits and plans over what is read: nothing may panic.

#![no_main]

#[path = "../checks/machines.rs"]
mod checks;

use checks::{Wanted, read_and_plan};
use libfuzzer_sys::fuzz_target;

type Bounds = Option<(u8, u8)>;

fuzz_target!(|input: (Bounds, Bounds, bool, &[u8])| {
    let (created, started, clone_volumes, body) = input;
    let wanted = Wanted {
        created,
        started,
        clone_volumes,
    };
    read_and_plan(body, wanted);
});
