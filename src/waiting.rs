//! Passes that do nothing but wait for machines to stop.
//!
//! Such a pass holds no place of `FAS_CONCURRENCY`: fifty apps that drain side by side must not keep another one from
//! growing. It counts as waiting until it ends, and what it has left to do by then is a call for each machine.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// How many passes only wait; its clones count the same ones.
#[derive(Debug, Clone, Default)]
pub struct Waiting(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    passes: AtomicUsize,
    began: Notify,
}

/// One pass that only waits, until this is dropped.
#[derive(Debug)]
pub struct WaitingPass(Arc<Shared>);

impl Waiting {
    /// The pass that calls this only waits from now on.
    #[must_use]
    pub fn begin(&self) -> WaitingPass {
        self.0.passes.fetch_add(1, Ordering::Relaxed);
        self.0.began.notify_one();
        WaitingPass(Arc::clone(&self.0))
    }

    /// How many passes only wait now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.passes.load(Ordering::Relaxed)
    }

    /// Returns when another pass has begun to wait since this was last awaited; for one listener.
    pub async fn another(&self) {
        self.0.began.notified().await;
    }
}

impl Drop for WaitingPass {
    fn drop(&mut self) {
        self.0.passes.fetch_sub(1, Ordering::Relaxed);
    }
}
