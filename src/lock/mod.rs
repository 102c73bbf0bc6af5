//! The lock that says which of several copies of this program writes.
//!
//! One lock of Consul, which belongs to a session that its copy keeps renewing. Consul does what is hard about it: it ends
//! sessions that nobody renews, keeps the lock from everybody for a while after that, and tells those who wait.
//!
//! - [`contest`]: what a copy does and whether it may write, as a pure state machine.
//! - `split`: its part that there is only with shards, which are divided by `balance`.
//! - [`account`]: what a holder says of itself.
//! - [`consul`]: the calls, over the seam of [`crate::transport`].
//! - [`keeper`]: makes the calls of the one with the other.
//! - [`gate`]: what everything else asks: whether a write may begin.
//! - [`role`]: what a copy is among the others, for whoever looks.
//!
//! Deliberately absent: who writes what. A copy that stands by looks and plans like the one that holds the lock; what is
//! held back from it is writing, in one place in the client of the Machines API.

pub mod account;
mod balance;
pub mod consul;
pub mod contest;
pub mod gate;
pub mod keeper;
pub mod role;
#[cfg(test)]
mod shard_tests;
mod split;
#[cfg(test)]
mod tests;

pub use self::{
    account::{Account, Differences},
    balance::shard_of,
    consul::{Consul, ConsulError, ConsulOptions, Message, ProbeError},
    contest::{Entry, LockIdentity, Term, UNHEARD_LIMIT},
    gate::{Gate, Part},
    keeper::{Keeper, KeeperOptions, Running},
    role::Role,
};
