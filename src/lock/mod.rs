//! The lock that says which of several copies of this program writes.
//!
//! One lock of Consul, which belongs to a session that its copy keeps renewing. Consul does what is hard about it: it ends
//! sessions that nobody renews, keeps the lock from everybody for a while after that, and tells those who wait.
//!
//! - [`contest`]: what a copy does and whether it may write, as a pure state machine.
//! - [`consul`]: the calls, over the seam of [`crate::transport`].

pub mod consul;
pub mod contest;
#[cfg(test)]
mod tests;

pub use self::{
    consul::{Consul, ConsulError, ConsulOptions, ProbeError},
    contest::{Entry, Term},
};
