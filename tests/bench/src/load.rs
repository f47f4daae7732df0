//! Load: a number of connections for a while, and what it cost the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::client::Target;
use crate::{Outcome, cpu};

/// What a spell of load showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spell {
    /// CPU time of the server per request.
    pub(crate) cpu: Duration,
    /// Requests per second.
    pub(crate) rate: f64,
}

/// Sends the request over all connections for a while.
pub(crate) async fn spell(
    target: &Target,
    process: u32,
    request: Vec<u8>,
    connections: usize,
    length: Duration,
) -> Outcome<Spell> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut connection = target.connect().await?;
        connection.exchange(&request).await?;
        open.push(connection);
    }
    let request = Arc::new(request);
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let (from, begun) = (cpu::of(process)?, Instant::now());
    let tasks: Vec<_> = open
        .into_iter()
        .map(|mut connection| {
            let (request, stop, done) =
                (Arc::clone(&request), Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    connection.exchange(&request).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Outcome::Ok(())
            })
        })
        .collect();
    tokio::time::sleep(length).await;
    let (until, took) = (cpu::of(process)?, begun.elapsed());
    let count = done.load(Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    let count = u32::try_from(count.max(1))?;
    Ok(Spell { cpu: (until - from) / count, rate: f64::from(count) / took.as_secs_f64() })
}
