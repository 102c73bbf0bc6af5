//! The client of Fly's Machines API and of the one GraphQL call that is needed.
//!
//! It knows the wire: paths, headers, tokens, cookies, JSON, and which call may be repeated. It decides nothing about
//! machines. Every call is given a deadline and ends by it; every write is refused here under `FAS_DRY_RUN`. Wire types
//! stop in this module: callers get machines as decisions see them and the outcomes of calls.

mod address;
mod client;
mod clone;
mod cookies;
mod error;
mod graphql;
mod pacing;
mod scope;
mod token;
mod volumes;
mod wire;

pub use client::{Api, ApiOptions, AppClient, CreateWindow, Turn, WriteWindow};
pub use clone::NewClone;
pub use error::{ApiError, ApiErrorCause, Verdict};
pub use scope::{AppAbout, TokenScope};
pub use volumes::{Chosen, PassVolumes};
pub use wire::parse_machines;
