//! `countersign serve`: the gateway, until it is told to stop.

use crate::{config::Config, failure::Failure, output, serving::Serving, wiring};
use tokio::signal::unix::{SignalKind, signal};

pub(super) async fn run(config: Config) -> Result<(), Failure> {
    let broken = |error: &dyn std::error::Error| Failure::of("signals cannot be heard", error);
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| broken(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| broken(&error))?;
    let mut hangup = signal(SignalKind::hangup()).map_err(|error| broken(&error))?;
    let serving = Serving::start(wiring::open(config).await?).await?;
    output::line(&serving.banner())?;
    let mut health = serving.store_ended();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => serving.reload_policy().await,
            failure = health.failed() => {
                serving.stop().await?;
                return Err(failure);
            }
        }
    }
    serving.stop().await
}
