//! The shutdown flag: set once, seen by everything that must begin nothing new.

use tokio::sync::watch;

/// Sets the flag. Dropping it unset leaves it unset.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

/// The flag, as everything but its owner sees it.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// A trigger and the flag that it sets.
#[must_use]
pub fn shutdown() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (ShutdownTrigger(sender), Shutdown(receiver))
}

impl ShutdownTrigger {
    /// Sets the flag.
    pub fn set(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Whether the flag is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the flag is set; for ever when its trigger is dropped unset. Safe to drop.
    pub async fn wait(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|set| *set).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
