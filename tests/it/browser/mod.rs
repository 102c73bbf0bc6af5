//! The page in a real Chromium: what a reader sees and does there, which no look at the HTML can tell.
//!
//! They are ignored by a plain `cargo test`, since the browser and its driver have to be installed. `FAS_TEST_CHROMIUM` and
//! `FAS_TEST_CHROMEDRIVER` name them where they are not found by their usual names; one that cannot be started fails the
//! test. Every test also fails by a message on the console, a dialog, or a request to anybody but the daemon. Every process
//! ends with its test.

mod chromium;
mod facts;
mod looks;
mod movement;
mod served;
mod words;
