//! Decisions over whole passes: a fleet that is looked at again and again, golden plans, and what holds of any.

pub(super) mod fleet;
mod golden;
mod properties;
