//! What the program costs: time, allocations, memory, requests. `cargo bench` prints one table of it.
//!
//! `cargo bench -- NAME` measures and prints only lines whose name begins with `NAME`; there can be several. Decisions are
//! timed in this process; passes, memory and the port are those of the real program, against a simulated platform in this
//! process. Nothing here is compared with a bound: a number says something only beside another one of the same machine.

#![expect(
    clippy::print_stdout,
    reason = "the table is for whoever runs the benchmark"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock, and waits for a process by it"
)]

mod daemon;
mod decisions;
mod measure;

use measure::Table;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo says so in `cargo bench` alone; `cargo test --all-targets` asks only whether this begins at all.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let names = arguments.into_iter();
    let names = names.filter(|argument| !argument.starts_with('-'));
    let mut table = Table::new(names.collect());
    decisions::measure(&mut table);
    daemon::measure(&mut table);
    println!(
        "\nratio: the median, of plans and lists that of one machine, to that of the first line of its kind; 1 is flat.\n\
         passes: `core` is `user` and `system`, of one pass over one app; `share` of a core, with a pass every 3 ms.\n\
         Some lines alone: cargo bench -- NAME, with what their names begin with."
    );
}
